"""How good the answers are, each figure with its interval. Arrays of class indices in, numbers out."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_CLIPS_OF_A_SPEAKER = 5  # from which a speaker's accuracy is one


class Interval(NamedTuple):
    """The 95 % interval of a figure."""

    low: float
    high: float

    def figures(self, name: str) -> dict[str, float]:
        """Its ends beside the figure of that name: `<name>_low` and `<name>_high`."""
        return {f"{name}_low": self.low, f"{name}_high": self.high}


@dataclass(frozen=True)
class Difference:
    """By how much the second of two networks is better than the first, on the same clips.

    Attributes:
        accuracy: the second one's minus the first one's, as a share of the clips.
        interval: of that, by bootstrap over speakers.
        only_first: how many clips only the first one gets right.
        only_second: likewise.
        p_value: of McNemar's exact test (1947), which takes the clips as independent.
    """

    accuracy: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float

    @property
    def better(self) -> bool:
        """Whether the second network is better beyond chance: by the bootstrap over speakers and by McNemar's test.

        The bootstrap alone says so of three speakers with a clip more each, the exact test forgets whose clips they
        are.
        """
        return self.interval.low > 0 and self.p_value < 0.05

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.accuracy:+.2f} points, 95 % interval {100 * low:+.2f} to {100 * high:+.2f}"


def share_figures(
    name: str, correct: np.ndarray, people: np.ndarray | None = None, clips: np.ndarray | None = None
) -> dict[str, float]:
    """The share of the clips that are right, under this name, and its interval: `name`, `<name>_low`, `<name>_high`.

    Args:
        name: of the figure.
        correct: bool (clips,), taken as independent.
    """
    return {name: float(correct.mean()), **wilson_interval(int(correct.sum()), len(correct)).figures(name)}


def wilson_interval(correct: int, clips: int) -> Interval:
    """95 % interval of an accuracy, all clips taken as independent (Wilson, 1927); 0 to 1 of no clips."""
    import scipy.stats

    if not clips:
        return Interval(0.0, 1.0)
    interval = scipy.stats.binomtest(correct, clips).proportion_ci(0.95, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def speaker_interval(correct: np.ndarray, speakers: np.ndarray, seed: int, resamples: int = 2000) -> Interval:
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
        return Interval(0.0, 1.0)
    hits, clips = np.bincount(speaker, weights=correct), np.bincount(speaker)
    drawn = np.random.default_rng(seed).integers(len(clips), size=(resamples, len(clips)))
    accuracies = hits[drawn].sum(axis=1) / clips[drawn].sum(axis=1)
    low, high = np.quantile(accuracies, [0.025, 0.975])
    return Interval(float(low), float(high))


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-probability of the right word: (clips, classes), (clips,) -> nats."""
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts (actual, predicted)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def word_scores(labels: np.ndarray, predicted: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Precision, recall and F1 (0 where a word was never guessed) and the number of clips, each (classes,)."""
    counts = confusion_matrix(labels, predicted, classes)
    right, clips, guesses = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    return {
        "precision": right / np.maximum(guesses, 1),
        "recall": right / np.maximum(clips, 1),
        "f1": 2 * right / np.maximum(clips + guesses, 1),
        "clips": clips,
    }


def poisson_interval(events: int, hours: float) -> Interval:
    """95 % interval of a rate, in events an hour (Garwood, 1936)."""
    import scipy.stats

    low = scipy.stats.chi2.ppf(0.025, 2 * events) / 2 if events else 0.0
    high = scipy.stats.chi2.ppf(0.975, 2 * events + 2) / 2
    return Interval(float(low) / hours, float(high) / hours)


def rate_interval(sources: np.ndarray, hours: float) -> Interval:
    """Until the new intervals are here: Garwood's."""
    return poisson_interval(len(sources), hours)


def calibration(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """How often answers of a given confidence are right (Guo et al., 2017): a row for each bin that holds clips.

    Args:
        confidence: probability of the answer, (clips,).
        correct: bool (clips,).
        bins: of equal width, from 0 to 1.

    Returns:
        Rows of `confidence` and `accuracy` (means), and `clips`.
    """
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {"confidence": float(confidence[row].mean()), "accuracy": float(correct[row].mean()), "clips": int(row.sum())}
        for row in (bin_of == number for number in range(bins))
        if row.any()
    ]


def calibration_error(rows: list[dict[str, float]]) -> float:
    """Expected calibration error: the mean distance between confidence and accuracy, over the clips."""
    clips = sum(row["clips"] for row in rows)
    return sum(row["clips"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / clips


def speaker_spread(correct: np.ndarray, speakers: np.ndarray, share: float = 0.1) -> tuple[float, float]:
    """Accuracy for the speakers who are understood worst and best: means over a tenth of the speakers each.

    Of the speakers with five clips or more: with one clip, everybody is understood always or never.

    Args:
        correct: bool (clips,).
        speakers: (clips,), who speaks in each.
        share: of the speakers, at least one.
    """
    _, speaker = np.unique(speakers, return_inverse=True)
    clips = np.bincount(speaker)
    enough = clips >= min(_CLIPS_OF_A_SPEAKER, clips.max())
    accuracies = np.sort((np.bincount(speaker, weights=correct) / clips)[enough])
    count = max(1, round(share * len(accuracies)))
    return float(accuracies[:count].mean()), float(accuracies[-count:].mean())


def accuracy_difference(
    first: np.ndarray, second: np.ndarray, speakers: np.ndarray, seed: int, resamples: int = 2000
) -> Difference:
    """Whether the second of two networks is better, on the same clips.

    Args:
        first: bool (clips,), whether the first one is right.
        second: likewise.
        speakers: (clips,), who speaks in each.
        seed: of the bootstrap.
        resamples: how often the speakers are drawn anew.
    """
    import scipy.stats

    _, speaker = np.unique(speakers, return_inverse=True)
    gain, clips = np.bincount(speaker, weights=second.astype(int) - first.astype(int)), np.bincount(speaker)
    drawn = np.random.default_rng(seed).integers(len(clips), size=(resamples, len(clips)))
    low, high = np.quantile(gain[drawn].sum(axis=1) / clips[drawn].sum(axis=1), [0.025, 0.975])
    if len(clips) == 1:  # of one speaker nothing follows for others
        low, high = -1.0, 1.0
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p_value = scipy.stats.binomtest(only_second, differing).pvalue if differing else 1.0
    accuracy = float(second.mean() - first.mean())
    return Difference(accuracy, Interval(float(low), float(high)), only_first, only_second, float(p_value))
