"""Judges the files for ESPHome devices in the streams, under the rule of the devices: `kws.spotting.device_rule`.

A file knows one word. So the other words of the stream are other speech to it. The validation stream chooses how many
scores are averaged, and a cutoff for each sensitivity; the test stream is judged by them. The network in float32 is
judged beside, with the same cutoffs: stage export refuses a file that hears much less.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from kws.audio.frontend import FrontEnd
from kws.core.stderr import without_banners
from kws.evaluate import metrics, stream
from kws.evaluate.stream import HeardStretch, HeardStretches, Reaction, StreamOutcome, Stretch
from kws.evaluate.stream_scores import ENOUGH, delay_figures, false_alarm_figures, missed_figures
from kws.spotting.detect import SENSITIVITIES
from kws.spotting.device_rule import HIGHEST_SCORE, detections, device_input, probability_of

# Scores that are averaged: official wake words have five. Longer means have fewer false alarms, and tell a word later.
SIZES = (1, 2, 3, 5, 8, 12, 16)
# Below the last one, a device in noise would hear nothing: it waits for scores below the cutoff.
CUTOFFS = range(HIGHEST_SCORE - 1, HIGHEST_SCORE // 10, -1)


@dataclass(frozen=True)
class DeviceStream(HeardStretches):
    """What a device hears of a stream with the file of one word. Each stretch starts with the device.

    Attributes:
        word: the class.
        step: frames from one score to the next.
        front_end: of the features.
    """

    word: int
    step: int
    front_end: FrontEnd

    def at(self, cutoff: int, size: int) -> StreamOutcome:
        """What becomes of the stream with this cutoff, 1 to 254, and so many scores that are averaged."""
        f = self.front_end
        parts = []
        for heard in self.stretches:
            slices = detections(heard.scores, step=self.step, cutoff=cutoff, size=size)
            ends = [(number * f.hop_length + f.frame_length) / f.sample_rate for number in slices]
            reactions = [Reaction(end - f.clip_samples / f.sample_rate, end, self.word, cutoff) for end in ends]
            parts.append(stream.judge(reactions, heard.script, heard.background, stream.SECONDS / 3600))
        return stream.joined_outcomes(parts)

    def cutoffs(self, rates: Mapping[str, float], size: int) -> dict[str, int]:
        """The cutoff for each rate of false alarms an hour: it and all higher ones keep the rate.

        Of these it is the one with the fewest missed words, and of several the lowest. Where none keeps the rate, it
        is the highest.
        """
        fewest = dict.fromkeys(rates, (math.inf, CUTOFFS[0]))  # missed words, cutoff
        for cutoff in CUTOFFS:
            outcome = self.at(cutoff, size)
            rates = {name: rate for name, rate in rates.items() if len(outcome.alarms()) <= self.allowed(rate)}
            if not rates:
                break
            fewest |= {name: min(fewest[name], (int(outcome.missed.sum()), cutoff)) for name in rates}
        return {name: cutoff for name, (_, cutoff) in fewest.items()}


class DeviceNetwork:
    """The network in a file for devices, or the one in float32 that it was made of.

    Attributes:
        step: frames that it hears at once.
    """

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        [shape] = [details["shape"] for details in self._interpreter().get_input_details()]
        self.step = int(shape[1])

    def hear(self, features: np.ndarray) -> np.ndarray:
        """What it answers to a sound from its start, with a state of zero.

        Args:
            features: of front end `micro`, float32 (frames, mel_bins).

        Returns:
            Its output after each step: (steps, outputs).
        """
        interpreter = self._interpreter()
        [takes], [gives] = interpreter.get_input_details(), interpreter.get_output_details()
        values = features if takes["dtype"] == np.float32 else device_input(features)
        steps = values[: len(values) // self.step * self.step].reshape(-1, *takes["shape"])
        answers = np.zeros((len(steps), gives["shape"][-1]), gives["dtype"])
        for number, step in enumerate(steps):
            interpreter.set_tensor(takes["index"], step)
            interpreter.invoke()
            answers[number] = interpreter.get_tensor(gives["index"])[0]
        return answers

    def _interpreter(self) -> Interpreter:
        reference = OpResolverType.BUILTIN_REF  # rounds as TensorFlow Lite Micro does, on any processor
        with without_banners():
            interpreter = Interpreter(
                model_content=self._content, num_threads=1, experimental_op_resolver_type=reference
            )
            interpreter.allocate_tensors()
        return interpreter


def float_scores(probabilities: np.ndarray, word: int) -> np.ndarray:
    """What the network in float32 would give a device: probabilities (steps, classes) to uint8 (steps,).

    The sigmoid of the word's logit less the largest other one is the word's probability as a share of the two.
    """
    other = np.delete(probabilities, word, axis=1).max(axis=1)
    share = probabilities[:, word] / np.maximum(probabilities[:, word] + other, np.finfo(np.float32).tiny)
    return np.minimum(np.rint(share * (HIGHEST_SCORE + 1)), HIGHEST_SCORE).astype(np.uint8)


def hear(
    files: Mapping[int, DeviceNetwork], float32: DeviceNetwork, stretches: Iterable[Stretch], front_end: FrontEnd
) -> dict[int, tuple[DeviceStream, DeviceStream]]:
    """What devices hear of a stream, by word: with its file, and with the network in float32.

    Args:
        files: by word, as a class.
        float32: of the same step; gives the probabilities of all classes.
        stretches: of the stream, as they come.
        front_end: of the features.
    """
    heard: dict[int, tuple[list[HeardStretch], list[HeardStretch]]] = {word: ([], []) for word in files}
    for stretch in stretches:
        probabilities = float32.hear(stretch.log_mel)
        for word, file in files.items():
            script = [replace(said, word=word if said.word == word else None) for said in stretch.script]
            both = (file.hear(stretch.log_mel)[:, 0], float_scores(probabilities, word))
            for parts, scores in zip(heard[word], both, strict=True):
                parts.append(HeardStretch(scores, script, stretch.background))
    return {
        word: (
            DeviceStream(of_file, word, float32.step, front_end),
            DeviceStream(of_float32, word, float32.step, front_end),
        )
        for word, (of_file, of_float32) in heard.items()
    }


def score_word(
    in_validation: tuple[DeviceStream, DeviceStream],
    in_test: tuple[DeviceStream, DeviceStream],
    false_alarms_an_hour: float,
) -> dict[str, float]:
    """The figures of a word in `metrics/devices.json`, rounded to 6 decimals.

    `size`, `sliding_window_size` of the manifest, is one that keeps the rate of `balanced` in the validation stream, or
    is nearest to it. Of several it is the one with which the fewest words are missed, then the one that tells them
    earliest. For each of SENSITIVITIES `…_cutoff`, the `probability_cutoff`, is the one that `DeviceStream.cutoffs`
    chooses in the validation stream. The figures without a sensitivity are those of the test stream at `balanced`.
    `float32_missed` is that of the network before it was brought to 8 bits, at a cutoff of its own for the same rate.
    What 8 bits cost is measured in the validation stream, since export refuses files by it: `lost` is how many more
    words are missed in 8 bits, and `differs_by` the mean difference of the two scores, where one of them is above 0.1.

    Args:
        in_validation: what the file hears of the validation stream, and what the network in float32 hears.
        in_test: the same of the test stream.
        false_alarms_an_hour: wanted.
    """
    (validation, validation_float32), (test, float32) = in_validation, in_test
    rates = {name: factor * false_alarms_an_hour for name, factor in SENSITIVITIES.items()}
    by_size = {size: validation.cutoffs(rates, size) for size in SIZES}

    def cost(size: int) -> tuple[float, ...]:
        outcome = validation.at(by_size[size]["balanced"], size)
        too_many = max(0, len(outcome.alarms()) - validation.allowed(rates["balanced"]))
        delays = outcome.delays[~outcome.missed]
        return too_many, outcome.missed.sum(), np.median(delays) if len(delays) else 0.0

    size = min(SIZES, key=cost)
    cutoffs = by_size[size]
    own = validation_float32.cutoffs({"balanced": rates["balanced"]}, size)["balanced"]
    judged, before = test.at(cutoffs["balanced"], size), float32.at(own, size)
    figures: dict[str, float] = {"hours": test.hours, "words": len(judged.missed), "step_frames": test.step}
    figures |= {"size": size, "cutoff": probability_of(cutoffs["balanced"])}
    figures |= missed_figures("missed", judged) | false_alarm_figures("false_alarms_an_hour", judged)
    figures |= delay_figures("", judged)
    figures |= missed_figures("float32_missed", before) | false_alarm_figures("float32_false_alarms_an_hour", before)
    chosen_on, chosen_float32 = validation.at(cutoffs["balanced"], size), validation_float32.at(own, size)
    if len(chosen_on.missed):
        lost = metrics.accuracy_difference(
            ~chosen_on.missed, ~chosen_float32.missed, chosen_on.speakers, chosen_on.clips
        )
        figures |= {"lost": lost.accuracy, **lost.interval.figures("lost")}
    figures["differs_by"] = _difference(validation, validation_float32)
    for name, rate in rates.items():
        figures |= {f"{name}_cutoff": probability_of(cutoffs[name]), f"{name}_allowed_false_alarms_an_hour": rate}
        outcomes = {"validation": validation.at(cutoffs[name], size), "test": test.at(cutoffs[name], size)}
        if validation.hours * rate < ENOUGH:
            figures[f"{name}_too_short"] = 1
        if len(outcomes["validation"].alarms()) > validation.allowed(rate):
            figures[f"{name}_rate_not_kept"] = 1  # by no cutoff
        for split, outcome in outcomes.items():
            figures |= missed_figures(f"{name}_{split}_missed", outcome)
            figures |= false_alarm_figures(f"{name}_{split}_false_alarms_an_hour", outcome)
    return metrics.rounded(figures)


def _difference(int8: DeviceStream, float32: DeviceStream) -> float:
    """The mean difference of the scores, 0 to 1, where one of them is above 0.1; 0 where none is."""
    pairs = zip(int8.stretches, float32.stretches, strict=True)
    both = np.concatenate([np.stack([a.scores, b.scores]) for a, b in pairs], axis=1) / (HIGHEST_SCORE + 1)
    heard = both[:, (both > 0.1).any(axis=0)]
    return float(np.abs(heard[0] - heard[1]).mean()) if heard.size else 0.0


def lines(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the stage prints of the files, a line for each word."""
    told = []
    for word, of_word in figures.items():
        alarms = "{false_alarms_an_hour:.1f} false alarms an hour, 95 % interval {false_alarms_an_hour_low:.1f} to "
        alarms = (alarms + "{false_alarms_an_hour_high:.1f}").format(**of_word)
        heard = "no word was said: too short"
        if of_word["words"]:
            heard = "missed words {missed:.1%}, 95 % interval {missed_low:.1%} to {missed_high:.1%}".format(**of_word)
        if "delay_seconds" in of_word:
            heard += ", {within_300_ms:.1%} of all told within 0.3 s of their end; median of those that are heard "
            heard = (heard + "{delay_seconds:.2f} s").format(**of_word)
        if "balanced_rate_not_kept" in of_word:
            heard += "; no cutoff keeps the rate in validation"
        if "balanced_too_short" in of_word:
            heard += "; the streams are too short to tell this rate"
        told.append(f"{word} on a device with ESPHome, in {of_word['hours']:.1f} h: {alarms}, {heard}")
    return told
