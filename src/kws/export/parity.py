"""Whether exported models answer as the trained network does, on every test clip; and what is refused.

The reference is Keras on the features that the pipeline cached; each exported model hears the recordings again.
"""

import csv
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_clip
from kws.audio.frontend import FrontEnd
from kws.core.errors import UserError
from kws.core.params import SILENCE
from kws.recordings.archive import read_members
from kws.recordings.background import NOBODY, silence
from kws.spotting.litert import Network
from kws.spotting.spotter import Spotter

# What an export may lose against Keras; what loses more is refused.
FLOAT_DIFFERENCE = 1e-4  # of a probability: float32 differs in the order of its sums alone
INT8_ACCURACY = 0.003  # of the test clips, less that are right: 0.3 points ...
INT8_AGREEMENT = 0.01  # of the test clips, that get another label ...  and a standard error of this share more
STREAM_ACCURACY = 0.002  # of the test clips, more or less that are right in windows of a stream
STREAM_CLIPS = 1000  # that the sliding window is tried on, evenly through the test clips
ROUNDING = 1e-6  # of the figures
BLOCK_SAMPLES = 1000  # of that stream, at a time: no divisor of a window


@dataclass(frozen=True)
class Answers:
    """Probabilities of the test clips, float32 (clips, classes), and how long each took, in seconds."""

    probabilities: np.ndarray
    seconds: np.ndarray


def waveforms(
    manifest: Path, archive: Path, noises: Mapping[str, np.ndarray], front_end: FrontEnd
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and waveform, float32 (clip_samples,), of every usable test clip; one at a time is in memory.

    Args:
        manifest: manifest.csv of the features.
        archive: that holds the test clips.
        noises: background recordings, by name; the clips of silence that featurize made are made again.
        front_end: says how long a clip is.
    """
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row["status"] == "ok"]
    made = {row["name"] for row in rows if row["class"] == SILENCE and row["speaker"] == NOBODY}
    for name, data in read_members(archive, {row["name"] for row in rows} - made):
        yield name, cut_or_pad(decode_clip(data or b"", front_end.sample_rate), front_end.clip_samples)
    for name in sorted(made):
        yield name, silence(name, list(noises.values()), "test", front_end.clip_samples)


def ask(
    networks: Mapping[str, Network],
    clips: Iterable[tuple[str, np.ndarray]],
    place: Mapping[str, int],
    front_end: FrontEnd,
) -> dict[str, Answers]:
    """What each network makes of the clips.

    Args:
        networks: by kind.
        clips: name and waveform.
        place: by name, where a clip's answer goes.
        front_end: computes the features for the network that takes them.
    """
    classes = len(next(iter(networks.values())).about["classes"])
    answers = {kind: Answers(np.full((len(place), classes), np.nan), np.zeros(len(place))) for kind in networks}
    for name, waveform in tqdm(clips, "parity", len(place), unit="clip", disable=None):
        log_mel = front_end.log_mel(waveform)
        for kind, network in networks.items():
            start = time.perf_counter()
            probabilities = network.probabilities(log_mel if kind == "features" else waveform)
            answers[kind].seconds[place[name]] = time.perf_counter() - start
            answers[kind].probabilities[place[name]] = probabilities
    return answers


def slide(
    spotter: Spotter, clips: Iterable[tuple[str, np.ndarray]], place: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What a sliding window makes of clips that follow each other in one stream, as `kws listen` hears it.

    Args:
        spotter: that hears the stream.
        clips: name and waveform; every one that `place` knows is heard.
        place: by name, where a clip's answer goes.

    Returns:
        The places of the clips, and the probabilities of the windows that start with them: (clips, classes).
    """
    every = max(1, -(-len(place) // STREAM_CLIPS))
    steps = -(-spotter.clip_samples // spotter.step_samples)  # from clip to clip, so that a window starts with each
    places: list[int] = []

    def stream() -> Iterator[np.ndarray]:
        rest = np.zeros(0, np.float32)
        for name, waveform in clips:
            if place[name] % every == 0:
                places.append(place[name])
                rest = np.concatenate([rest, cut_or_pad(waveform, steps * spotter.step_samples)])
            while len(rest) >= BLOCK_SAMPLES:
                yield rest[:BLOCK_SAMPLES]
                rest = rest[BLOCK_SAMPLES:]
        yield rest

    windows = [window for number, window in enumerate(spotter.windows(stream())) if number % steps == 0]
    return np.array(places), np.stack(windows[: len(places)])


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


def check(scores: Mapping[str, Any]) -> None:
    """Refuses an export that answers otherwise than Keras.

    Args:
        scores: `test_clips`, `keras_accuracy`, the `figures` of every kind of model, those of the `stream`, with
            `stream_clips` and `stream_keras_accuracy`.

    Raises:
        UserError: one line with all that differs.
    """
    problems = []

    def demand(what: str, value: float, limit: float, unit: str) -> None:
        if not value <= limit + ROUNDING:  # also NaN
            problems.append(f"{what} {value:.2g} {unit}, where {limit:.2g} is the most")

    clips = scores["test_clips"]
    demand("float32: another label than Keras's for", 1 - scores["float32_agreement"], 0, "of the test clips")
    demand("float32: probabilities differ by", scores["float32_largest_difference"], FLOAT_DIFFERENCE, "from Keras's")
    for kind in ("int8", "features"):
        lost, changed = scores["keras_accuracy"] - scores[f"{kind}_accuracy"], 1 - scores[f"{kind}_agreement"]
        chance = max(INT8_AGREEMENT * clips, 1.0) ** 0.5 / clips  # of a hundred clips, one is a whole point
        demand(f"{kind}: accuracy falls by", lost, INT8_ACCURACY + chance, "of the test clips")
        demand(f"{kind}: another label than Keras's for", changed, INT8_AGREEMENT + chance, "of the test clips")
    lost = abs(scores["stream_keras_accuracy"] - scores["stream_accuracy"])
    demand("stream: accuracy of a sliding window differs by", lost, STREAM_ACCURACY, "from whole clips'")
    if problems:
        raise UserError("the export is refused: " + "; ".join(problems))
