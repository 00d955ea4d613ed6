"""How good the answers are, each figure with its interval. Arrays of class indices in, numbers out."""

import numpy as np
import scipy.stats
from sklearn.metrics import precision_recall_fscore_support


def wilson_interval(correct: int, clips: int) -> tuple[float, float]:
    """95 % interval of an accuracy, all clips taken as independent (Wilson, 1927)."""
    interval = scipy.stats.binomtest(correct, clips).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def speaker_interval(
    correct: np.ndarray, speakers: np.ndarray, seed: int, resamples: int = 2000
) -> tuple[float, float]:
    """95 % interval of an accuracy by bootstrap over speakers (percentiles; Efron, 1979).

    Clips of one voice succeed or fail together, so this interval is the wider and the more honest one. Of one speaker
    nothing follows for others: 0 to 1.

    Args:
        correct: bool (clips,).
        speakers: (clips,), who speaks in each.
        seed: of the resampling.
        resamples: how often the speakers are drawn anew, with replacement.
    """
    _, speaker = np.unique(speakers, return_inverse=True)
    if len(set(speaker)) == 1:
        return 0.0, 1.0
    hits, clips = np.bincount(speaker, weights=correct), np.bincount(speaker)
    drawn = np.random.default_rng(seed).integers(len(clips), size=(resamples, len(clips)))
    accuracies = hits[drawn].sum(axis=1) / clips[drawn].sum(axis=1)
    low, high = np.quantile(accuracies, [0.025, 0.975])
    return float(low), float(high)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-probability of the right word: (clips, classes), (clips,) -> nats."""
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts (actual, predicted)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def word_scores(labels: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Precision, recall and F1 (0 where a word was never guessed) and the number of clips, each (classes,)."""
    scores = precision_recall_fscore_support(labels, predicted, labels=range(classes), zero_division=0)
    return dict(zip(("precision", "recall", "f1", "clips"), scores, strict=True))
