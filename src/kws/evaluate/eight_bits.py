"""What the network loses in 8 bits, by the same code as its other figures: in quiet, in noise and in the stream.

Stage export refuses what loses too much: `kws.export.parity`.
"""

import numpy as np

from kws.evaluate import metrics
from kws.evaluate.answers import Answers
from kws.evaluate.noise_sweep import SNR_DB, NoiseOutcome

FLOAT32, INT8 = "float32", "int8"  # names of the two networks
STREAM_MINUTES = 60  # of the stream, at most, that the network in 8 bits hears


def quiet_figures(answers: Answers, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy on the test clips, and the share of them that have the same answer.

    Args:
        answers: of the network in float32.
        probabilities: of the one in 8 bits, for the same clips: (clips, classes).
    """
    predicted = probabilities.argmax(axis=1)
    figures = {
        "int8_accuracy": (predicted == answers.labels).mean(),
        "int8_agreement": (predicted == answers.predicted).mean(),
    }
    return {name: round(float(value), 6) for name, value in figures.items()}


def noise_figures(outcome: NoiseOutcome) -> dict[str, float]:
    """Accuracy at each signal-to-noise ratio, and `int8_noise_lost`: by how much it is lower, over all ratios."""
    correct = outcome.correct[INT8].mean(axis=0)
    figures = {f"int8_noise_{snr}db_accuracy": value for snr, value in zip(SNR_DB, correct, strict=True)}
    people = np.repeat(outcome.speakers, len(SNR_DB))
    figures |= _lost("int8_noise_lost", outcome.correct[FLOAT32].ravel(), outcome.correct[INT8].ravel(), people)
    return {name: round(float(value), 6) for name, value in figures.items()}


def _lost(name: str, float32: np.ndarray, int8: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """By how much the share that is right is lower in 8 bits, and its interval: bool (trials,), bool (trials,)."""
    difference = metrics.accuracy_difference(int8, float32, people)
    return {name: difference.accuracy, **difference.interval.figures(name)}
