"""What the network loses in 8 bits, by the same code as its other figures: in quiet, in noise and in the stream.

Stage export refuses what loses too much: `kws.export.parity`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.evaluate import metrics, stream
from kws.evaluate.answers import Answers
from kws.evaluate.noise_sweep import SNR_DB, NoiseOutcome, Predict
from kws.evaluate.stream import HeardStream, Stretch

FLOAT32, INT8 = "float32", "int8"  # names of the two networks
STREAM_STRETCHES = 3600 // stream.SECONDS  # an hour: the most of a stream that the network in 8 bits hears


def quiet_figures(answers: Answers, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy on the test clips, and the share of them that have the same answer.

    Args:
        answers: of the network in float32.
        probabilities: of the one in 8 bits, for the same clips: (clips, classes).
    """
    predicted = probabilities.argmax(axis=1)
    accuracy, agreement = (predicted == answers.labels).mean(), (predicted == answers.predicted).mean()
    return metrics.rounded({"int8_accuracy": accuracy, "int8_agreement": agreement})


def noise_figures(outcome: NoiseOutcome) -> dict[str, float]:
    """Accuracy at each signal-to-noise ratio, and `int8_noise_lost`: by how much it is lower, over all ratios."""
    correct = outcome.correct[INT8].mean(axis=0)
    figures = {f"int8_noise_{snr}db_accuracy": value for snr, value in zip(SNR_DB, correct, strict=True)}
    clips = np.repeat(np.arange(len(outcome.speakers)), len(SNR_DB))
    float32, int8 = (outcome.correct[name].ravel() for name in (FLOAT32, INT8))
    lost = _lost("int8_noise_lost", float32, int8, outcome.speakers[clips], clips)
    return metrics.rounded(figures | lost)


def hear(
    float32: Predict, int8: Predict, stretches: Iterable[Stretch], *, front_end: FrontEnd, words: Sequence[int]
) -> tuple[HeardStream, dict[str, HeardStream]]:
    """Runs both networks over the first hour of a stream, and the one in float32 over all of it.

    Args:
        float32: the network as it is.
        int8: the same in 8 bits.
        stretches: of the stream.
        front_end: computed the features.
        words: the classes to detect.

    Returns:
        What the network in float32 hears of the stream; and what each hears of its first hour, by name of the network.
    """
    stretches = iter(stretches)
    both = {FLOAT32: float32, INT8: int8}
    first = stream.hear(both, islice(stretches, STREAM_STRETCHES), front_end=front_end, words=words)
    rest = stream.hear({FLOAT32: float32}, stretches, front_end=front_end, words=words)
    return stream.joined([first[FLOAT32], rest[FLOAT32]]), first


def stream_figures(heard: Mapping[str, HeardStream], threshold: float) -> dict[str, float]:
    """Missed words and false alarms in 8 bits, and how many more words are missed: `int8_stream_lost`.

    Args:
        heard: what each network hears of the same stream, by its name.
        threshold: of both networks.
    """
    float32, int8 = (heard[name].at(threshold) for name in (FLOAT32, INT8))
    figures: dict[str, float] = {"int8_stream_hours": int8.hours}
    if len(int8.missed):  # a short stream may consist of other words alone
        figures |= metrics.share_figures("int8_stream_missed", int8.missed, int8.speakers, int8.clips)
        figures |= _lost("int8_stream_lost", ~float32.missed, ~int8.missed, int8.speakers, int8.clips)
    for name, outcome in (("int8_stream", int8), ("int8_stream_float32", float32)):
        alarms = outcome.alarms()
        rate = {f"{name}_false_alarms_an_hour": len(alarms) / outcome.hours}
        figures |= rate | metrics.rate_interval(alarms, outcome.hours).figures(f"{name}_false_alarms_an_hour")
    return metrics.rounded(figures)


def _lost(name: str, float32: np.ndarray, int8: np.ndarray, people: np.ndarray, clips: np.ndarray) -> dict[str, float]:
    """By how much the share that is right is lower in 8 bits, and its interval.

    Args:
        name: of the figure.
        float32: bool (trials,), whether the network is right.
        int8: likewise in 8 bits.
        people: (trials,), who speaks.
        clips: (trials,), which clip it is.
    """
    difference = metrics.accuracy_difference(int8, float32, people, clips)
    return {name: difference.accuracy, **difference.interval.figures(name)}
