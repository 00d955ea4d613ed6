"""Whether exported models answer as the trained network does, on every test clip; and what is refused.

The reference is Keras on the features that the pipeline cached; each exported model hears the recordings again.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from kws.audio.clip import cut_or_pad
from kws.audio.frontend import NO_SOUND, FrontEnd
from kws.core.errors import UserError
from kws.core.parallel import map_in_order
from kws.recordings.background import is_nobody, silence
from kws.recordings.manifest import read_sounds, usable_rows
from kws.recordings.source import DataSource
from kws.spotting.detect import Timing
from kws.spotting.litert import KINDS, Network, read_about
from kws.spotting.spotter import sliding

# What an export may lose against Keras; what loses more is refused.
FLOAT_DIFFERENCE = 1e-4  # of a probability: float32 differs in the order of its sums alone
INT8_ACCURACY = 0.003  # of the test clips, less that are right: 0.3 points ...
INT8_AGREEMENT = 0.01  # of the test clips, that get another label ...  and a standard error of this share more
FEW_CLIPS = 100  # of fewer clips, labels that Keras itself is undecided between do not count: weak networks often are
UNDECIDED = 0.02  # difference of two probabilities; 8 bits change a probability by about 0.003
INT8_NOISE = 0.005  # of the answers in noise, less that are right: evaluate's `int8_noise_lost`
INT8_MISSED = 0.02  # of the words in the stream, more that are missed: evaluate's `int8_stream_lost`
INT8_FALSE_ALARMS = 1.0  # an hour, more than in float32: evaluate's `int8_stream_false_alarms_an_hour`
SLIDING_ACCURACY = 0.002  # of the test clips, more or less that are right in windows of a stream
SLIDING_CLIPS = 1000  # that the sliding window is tried on, evenly through the test clips
ROUNDING = 1e-6  # of the figures
EIGHT_BITS = ("int8", "features", "stream_features")
CLIPS_A_TASK = 32
BLOCK_SAMPLES = 1000  # of that stream, at a time: no divisor of a window


@dataclass(frozen=True)
class ExportAnswers:
    """What an exported model makes of clips.

    Attributes:
        probabilities: (clips, classes); NaN for a clip that was not heard.
        seconds: (clips,), of one core, for an inference: of a whole clip, or of a step of a stream.
    """

    probabilities: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class Examined:
    """What the exported models make of the test clips.

    Attributes:
        answers: by kind of model, in the order of the records.
        streamed: positions of the clips that a sliding window heard in a stream.
        windows: the probabilities of the windows that start with them, (clips, classes).
    """

    answers: dict[str, ExportAnswers]
    streamed: np.ndarray
    windows: np.ndarray


class Heard(NamedTuple):
    """A clip as the exported models hear it.

    Attributes:
        name: of the clip.
        waveform: float32 (clip_samples,).
        before: what was recorded before it, float32 (samples,), in which the front end of devices settles.
    """

    name: str
    waveform: np.ndarray
    before: np.ndarray


def heard_again(
    manifest: Path, source: DataSource, noises: Mapping[str, np.ndarray], front_end: FrontEnd
) -> Iterator[Heard]:
    """Every usable test clip; one recording at a time is in memory.

    Args:
        manifest: manifest.csv of the features.
        source: says where the recordings are.
        noises: the test parts of the background recordings, by name. The clips of silence that featurize made are made
            again.
        front_end: says how long a clip is.
    """
    rows = list(usable_rows(manifest, "test"))
    made = {row["name"] for row in rows if is_nobody(row["speaker"])}
    recorded = [row for row in rows if row["name"] not in made]
    length, lead = front_end.clip_samples, front_end.lead * front_end.hop_length
    for row, sound, start in read_sounds(recorded, source, front_end.sample_rate):
        yield Heard(row["name"], cut_or_pad(sound, length, start), sound[max(0, start - lead) : start].copy())
    for name in sorted(made):
        yield Heard(name, silence(name, noises, length), NO_SOUND)


def examine(
    files: Mapping[str, bytes],
    clips: Iterable[Heard],
    position: Mapping[str, int],
    front_end: FrontEnd,
    threads: int,
) -> Examined:
    """Asks all exported models about all clips, in one pass over the recordings.

    Args:
        files: the models, by kind.
        clips: that they hear.
        position: by name, where a clip's answer goes.
        front_end: computes the features for the model that takes them.
        threads: that share the work; nothing but its time depends on their number.
    """
    every = max(1, -(-len(position) // SLIDING_CLIPS))
    idle: SimpleQueue[dict[str, Network]] = SimpleQueue()
    for _ in range(threads):
        idle.put({kind: Network(content) for kind, content in files.items()})

    def work(task: list[Heard]) -> tuple[list[int], dict[str, ExportAnswers], list[int], np.ndarray]:
        networks = idle.get()
        try:
            positions = [position[clip.name] for clip in task]
            streamed = {n: clip for n, clip in zip(positions, task, strict=True) if n % every == 0}
            answers = ask(networks, task, front_end)
            windows = ask({"float32": networks["float32"]}, slide(list(streamed.values()), front_end), front_end)
        finally:
            idle.put(networks)  # or other tasks would wait for them for ever
        return positions, answers, list(streamed), windows["float32"].probabilities

    shape = len(position), len(read_about(files["float32"])["classes"])
    whole = {kind: ExportAnswers(np.full(shape, np.nan), np.zeros(len(position))) for kind in files}
    streamed, windows = [], []
    progress = tqdm(clips, "parity", len(position), unit="clip", disable=None)
    for positions, answers, streamed_here, windows_here in map_in_order(work, progress, CLIPS_A_TASK, threads):
        for kind, part in answers.items():
            whole[kind].probabilities[positions] = part.probabilities
            whole[kind].seconds[positions] = part.seconds
        streamed += streamed_here
        windows.append(windows_here)
    return Examined(whole, np.array(streamed), np.concatenate(windows))


def ask(networks: Mapping[str, Network], clips: Sequence[Heard], front_end: FrontEnd) -> dict[str, ExportAnswers]:
    """What each network makes of the clips.

    Args:
        networks: by kind.
        clips: that it hears.
        front_end: computes the features for the network that takes them.
    """
    shape = len(clips), len(next(iter(networks.values())).about["classes"])
    answers = {kind: ExportAnswers(np.zeros(shape, np.float32), np.zeros(len(clips))) for kind in networks}
    for number, (_, waveform, before) in enumerate(clips):
        features = front_end.clip_log_mel(waveform, before)
        for kind, network in networks.items():
            values = features if network.takes_features else waveform
            start = time.thread_time()  # of this thread alone: others work beside it
            answers[kind].probabilities[number] = network.clip(values)
            answers[kind].seconds[number] = (time.thread_time() - start) / -(-len(values) // network.length)
    return answers


def slide(clips: Sequence[Heard], front_end: FrontEnd) -> list[Heard]:
    """Clips that follow each other in a stream, as the sliding window cuts them out of it again.

    `kws listen` cuts its windows with the same code. They are the clips, if the cutting loses nothing.
    """
    timing = Timing.of(front_end.clip_samples, front_end.hop_length)
    steps = -(-front_end.clip_samples // timing.step_samples)  # from clip to clip, so that a window starts with each
    padded = [cut_or_pad(clip.waveform, steps * timing.step_samples) for clip in clips]
    stream = np.concatenate([NO_SOUND, *padded])
    blocks = np.split(stream, range(BLOCK_SAMPLES, len(stream), BLOCK_SAMPLES))
    windows = sliding(blocks, front_end.clip_samples, timing.step_samples)
    windows = islice(windows, 0, steps * len(clips), steps)  # the others have no answer to compare
    return [clip._replace(waveform=window) for clip, window in zip(clips, windows, strict=True)]


def figures(kind: str, answers: np.ndarray, keras: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, agreement with Keras, and the largest difference of a probability, named after the kind of model.

    Args:
        kind: of the model.
        answers: its probabilities, (clips, classes).
        keras: those of the reference.
        labels: (clips,), the right classes.
    """
    predicted = answers.argmax(axis=1)
    return {
        f"{kind}_accuracy": round(float((predicted == labels).mean()), 6),
        f"{kind}_agreement": round(float((predicted == keras.argmax(axis=1)).mean()), 6),
        f"{kind}_largest_difference": round(float(np.abs(answers - keras).max()), 6),
    }


def undecided(answers: np.ndarray, keras: np.ndarray) -> float:
    """The share of clips that get another label, but one to which Keras gives almost the same probability.

    Args:
        answers: probabilities of an exported model, (clips, classes).
        keras: those of the reference.
    """
    predicted, clips = answers.argmax(axis=1), np.arange(len(keras))
    margin = keras.max(axis=1) - keras[clips, predicted]
    return round(float(((predicted != keras.argmax(axis=1)) & (margin < UNDECIDED)).mean()), 6)


def check(scores: Mapping[str, Any], evaluated: Mapping[str, float]) -> list[str]:
    """Refuses an export that answers otherwise than Keras, and 8 bits that lose too much in noise or in the stream.

    In noise and in the stream, 8 bits are refused where even the low end of the interval is beyond the limit.
    Where only the figure itself is, that may be chance, and is told.

    Args:
        scores: `test_clips`, `keras_accuracy`, the `figures` of every kind of model, `undecided` of those with 8
            bits, the figures of the `sliding` window, with `sliding_clips` and `sliding_keras_accuracy`.
        evaluated: the content of metrics/evaluate.json.

    Returns:
        A line for each figure that is beyond the limit, but may be so by chance.

    Raises:
        UserError: one line with all that differs.
    """
    problems: list[str] = []
    doubts: list[str] = []

    def demand(what: str, value: float, limit: float, unit: str) -> None:
        if not value <= limit + ROUNDING:  # also NaN
            problems.append(f"{what} {value:.2g} {unit}, where {limit:.2g} is the most")

    def demand_beyond_chance(what: str, value: float, low: float, limit: float, unit: str) -> None:
        demand(what, low, limit, f"{unit} (low end of the 95 % interval)")
        if low <= limit + ROUNDING < value:
            doubts.append(f"{what} {value:.2g} {unit}, where {limit:.2g} is the most: the interval allows for that")

    clips = scores["test_clips"]
    examined = [kind for kind in KINDS if f"{kind}_agreement" in scores]
    for kind in (kind for kind in examined if kind not in EIGHT_BITS):
        largest = scores[f"{kind}_largest_difference"]
        demand(f"{kind}: another label than Keras's for", 1 - scores[f"{kind}_agreement"], 0, "of the test clips")
        demand(f"{kind}: probabilities differ by", largest, FLOAT_DIFFERENCE, "from Keras's")
    for kind in (kind for kind in examined if kind in EIGHT_BITS):
        spared = scores[f"{kind}_undecided"] if clips < FEW_CLIPS else 0
        lost = scores["keras_accuracy"] - scores[f"{kind}_accuracy"] - spared
        changed = 1 - scores[f"{kind}_agreement"] - spared
        chance = max(INT8_AGREEMENT * clips, 1.0) ** 0.5 / clips  # of a hundred clips, one is a whole point
        demand(f"{kind}: accuracy falls by", lost, INT8_ACCURACY + chance, "of the test clips")
        demand(f"{kind}: another label than Keras's for", changed, INT8_AGREEMENT + chance, "of the test clips")
    lost, low = evaluated["int8_noise_lost"], evaluated["int8_noise_lost_low"]
    demand_beyond_chance("int8: accuracy in noise falls by", lost, low, INT8_NOISE, "of the answers")
    if "int8_stream_lost" in evaluated:  # else no word was said in it
        lost, low = evaluated["int8_stream_lost"], evaluated["int8_stream_lost_low"]
        demand_beyond_chance("int8: more missed in a stream by", lost, low, INT8_MISSED, "of the words")
    before = evaluated["int8_stream_float32_false_alarms_an_hour"]
    more, low = (evaluated[f"int8_stream_false_alarms_an_hour{end}"] - before for end in ("", "_low"))
    demand_beyond_chance("int8: more false alarms in a stream by", more, low, INT8_FALSE_ALARMS, "an hour")
    lost = abs(scores["sliding_keras_accuracy"] - scores["sliding_accuracy"])
    demand("float32: accuracy of a sliding window differs by", lost, SLIDING_ACCURACY, "from whole clips'")
    if problems:
        raise UserError("the export is refused: " + "; ".join(problems))
    return doubts
