"""Whether exported models answer as the trained network does, on every test clip; and what is refused.

The reference is Keras on the features that the pipeline cached; each exported model hears the recordings again.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from tqdm import tqdm

from kws.audio.clip import cut_or_pad
from kws.audio.frontend import FrontEnd
from kws.core.errors import UserError
from kws.core.parallel import map_in_order
from kws.recordings.background import is_nobody, silence
from kws.recordings.manifest import read_waveforms, usable_rows
from kws.spotting.litert import KINDS, Network, read_about
from kws.spotting.spotter import Spotter, sliding

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


def waveforms(
    manifest: Path, archive: Path, noises: Mapping[str, np.ndarray], front_end: FrontEnd
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and waveform, float32 (clip_samples,), of every usable test clip; one at a time is in memory.

    Args:
        manifest: manifest.csv of the features.
        archive: that holds the test clips.
        noises: the test parts of the background recordings, by name. The clips of silence that featurize made are made
            again.
        front_end: says how long a clip is.
    """
    rows = usable_rows(manifest, "test")
    made = {row["name"] for row in rows if is_nobody(row["speaker"])}
    recorded = [row for row in rows if row["name"] not in made]
    seconds = front_end.clip_samples / front_end.sample_rate
    for row, waveform in read_waveforms(recorded, archive, front_end.sample_rate, seconds):
        yield row["name"], waveform
    for name in sorted(made):
        yield name, silence(name, noises, front_end.clip_samples)


def examine(
    files: Mapping[str, bytes],
    clips: Iterable[tuple[str, np.ndarray]],
    position: Mapping[str, int],
    front_end: FrontEnd,
    threads: int,
) -> Examined:
    """Asks all exported models about all clips, in one pass over the recordings.

    Args:
        files: the models, by kind.
        clips: name and waveform.
        position: by name, where a clip's answer goes.
        front_end: computes the features for the model that takes them.
        threads: that share the work; nothing but its time depends on their number.
    """
    every = max(1, -(-len(position) // SLIDING_CLIPS))
    idle: SimpleQueue[dict[str, Network]] = SimpleQueue()
    for _ in range(threads):
        idle.put({kind: Network(content) for kind, content in files.items()})

    def work(task: list[tuple[str, np.ndarray]]) -> tuple[list[int], dict[str, ExportAnswers], list[int], np.ndarray]:
        networks = idle.get()
        try:
            positions = [position[name] for name, _ in task]
            waveforms = [waveform for _, waveform in task]
            streamed = {n: waveform for n, waveform in zip(positions, waveforms, strict=True) if n % every == 0}
            answers = ask(networks, waveforms, front_end)
            windows = slide(Spotter(networks["float32"]), list(streamed.values()))
        finally:
            idle.put(networks)  # or other tasks would wait for them for ever
        return positions, answers, list(streamed), windows

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


def ask(
    networks: Mapping[str, Network], waveforms: Sequence[np.ndarray], front_end: FrontEnd
) -> dict[str, ExportAnswers]:
    """What each network makes of the clips.

    Args:
        networks: by kind.
        waveforms: float32 (clip_samples,) each.
        front_end: computes the features for the network that takes them.
    """
    probabilities: dict[str, list[np.ndarray]] = {kind: [] for kind in networks}
    seconds: dict[str, list[float]] = {kind: [] for kind in networks}
    for waveform in waveforms:
        log_mel = front_end.clip_log_mel(waveform)
        for kind, network in networks.items():
            values = log_mel if network.takes_features else waveform
            start = time.thread_time()  # of this thread alone: others work beside it
            probabilities[kind].append(network.clip(values))
            seconds[kind].append((time.thread_time() - start) / -(-len(values) // network.length))
    return {kind: ExportAnswers(np.stack(probabilities[kind]), np.array(seconds[kind])) for kind in networks}


def slide(spotter: Spotter, waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """What the network makes of clips that follow each other in a stream and are cut out of it again.

    `kws listen` cuts its windows with the same code. The answers are those to the clips, if the cutting loses nothing.

    Args:
        spotter: that hears the stream.
        waveforms: float32 (clip_samples,) each.

    Returns:
        The probabilities of the windows that start with the clips: (clips, classes).
    """
    steps = -(-spotter.clip_samples // spotter.step_samples)  # from clip to clip, so that a window starts with each
    padded = [cut_or_pad(waveform, steps * spotter.step_samples) for waveform in waveforms]
    stream = np.concatenate([np.zeros(0, np.float32), *padded])
    blocks = np.split(stream, range(BLOCK_SAMPLES, len(stream), BLOCK_SAMPLES))
    windows = sliding(blocks, spotter.clip_samples, spotter.step_samples)
    windows = islice(windows, 0, steps * len(waveforms), steps)  # the others have no answer to compare
    return np.reshape([spotter.clip(window) for window in windows], (len(waveforms), len(spotter.classes)))


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
