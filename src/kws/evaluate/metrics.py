"""How good the answers are, each figure with its interval. Arrays of class indices in, numbers out.

All intervals are 95 %. Clips of one person succeed or fail together, so an interval of a share is made from people, the
clips within them, and the repeats of a clip. `benchmarks/coverage.py` measures how often each kind of interval holds
the true value; docs/evaluation.md has the table.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kws.recordings.background import NOBODY

FEWEST_CLIPS = 5  # of a speaker: with one clip, everybody is understood always or never
_FEW_PEOPLE = 10  # with fewer, the spread between them says little about the spread between others
_NORMAL = 1.959963984540054  # 97.5 % of a normal distribution lie below
_GRID = (100, 20)  # of the two parameters in `_people_posterior`; it needs no random draw
_CORRELATIONS = (3e-4, 0.95)
_AT_ONCE = 200  # values of a sum: bounds the memory
_UNKNOWN_SHARE = ((np.arange(_GRID[0]) + 0.5) / _GRID[0] * np.pi / 2, np.full(_GRID[0], 1 / _GRID[0]))  # the prior


class Interval(NamedTuple):
    """The 95 % interval of a figure."""

    low: float
    high: float

    def figures(self, name: str) -> dict[str, float]:
        """Its ends beside the figure of that name: `<name>_low` and `<name>_high`."""
        return {f"{name}_low": self.low, f"{name}_high": self.high}


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures as they are written to files: six decimals; whole numbers stay whole."""
    return {name: value if isinstance(value, int) else round(float(value), 6) for name, value in figures.items()}


@dataclass(frozen=True)
class Difference:
    """By how much the second of two networks is better than the first, on the same clips.

    Attributes:
        accuracy: the second one's minus the first one's, as a share of the clips.
        interval: of that, for other people.
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
        """Whether the second network is better beyond chance: by the interval over people and by McNemar's test.

        The exact test forgets whose clips they are; the interval rests on a model of people.
        """
        return self.interval.low > 0 and self.p_value < 0.05

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.accuracy:+.2f} points, 95 % interval {100 * low:+.2f} to {100 * high:+.2f}"


@dataclass(frozen=True)
class Outcomes:
    """What became of clips with one network, one entry for each time that a clip was tried.

    Attributes:
        correct: bool (trials,).
        people: (trials,), who speaks.
        clips: (trials,), the clip's name.
    """

    correct: np.ndarray
    people: np.ndarray
    clips: np.ndarray


def share_figures(
    name: str, correct: np.ndarray, people: np.ndarray, clips: np.ndarray | None = None
) -> dict[str, float]:
    """The share that is right, under this name, and its interval: `name`, `<name>_low`, `<name>_high`.

    Args:
        name: of the figure.
        correct: bool (trials,), at least one.
        people: (trials,), who speaks in each.
        clips: (trials,), which clip it is, if clips are tried repeatedly.
    """
    return {name: float(correct.mean()), **share_interval(correct, people, clips).figures(name)}


def share_interval(correct: np.ndarray, people: np.ndarray, clips: np.ndarray | None = None) -> Interval:
    """95 % interval of a share for other people like these, other clips of theirs, and other repeats of a clip.

    The interval is that of a model of people (`_people_posterior`). From ten people on it is this or Wilson's (1927)
    with the effective number of clips (Korn and Graubard, 1998), whichever is wider: Wilson's takes no model for
    granted, but needs many people. If every clip is of another person, the second is Wilson's interval itself.

    Silent clips that kws makes are nobody's. They have an interval of their own, as clips of different people have, and
    count by their share of the trials (`_over_strata`).

    Args:
        correct: bool (trials,).
        people: (trials,), who speaks in each.
        clips: (trials,), which clip it is; None: all differ.

    Returns:
        0 to 1 of no trials, and of one person: nothing follows for others.
    """

    def of(some: np.ndarray) -> tuple[float, Interval]:
        interval = _share_interval(correct[some], people[some], None if clips is None else clips[some])
        return float(correct[some].mean()), interval

    return _over_strata(people, of) if len(correct) else Interval(0.0, 1.0)


def _over_strata(people: np.ndarray, figure: Callable[[np.ndarray], tuple[float, Interval]]) -> Interval:
    """The interval of a figure over clips of people and silent clips, which vary independently of each other.

    The variances of both are added, weighted by their parts of the trials, for each end by itself (Zou and Donner,
    2008).

    Args:
        people: (trials,), who speaks in each.
        figure: of some of the trials, bool (trials,): its value and interval.
    """
    names, person = np.unique(people, return_inverse=True)
    silent = np.char.startswith(names.astype(str), NOBODY)[person]
    strata = [some for some in (~silent, silent) if some.any()]
    found = [figure(some) for some in strata]
    if len(found) == 1:
        return found[0][1]
    weights = [float(some.mean()) for some in strata]
    middle = sum(weight * value for weight, (value, _) in zip(weights, found, strict=True))
    below, above = (
        math.hypot(
            *(weight * (interval[end] - value) for weight, (value, interval) in zip(weights, found, strict=True))
        )
        for end in (0, 1)
    )
    return Interval(middle - below, middle + above)


def _share_interval(correct: np.ndarray, people: np.ndarray, clips: np.ndarray | None) -> Interval:
    """`share_interval` of one stratum, at least one trial."""
    _, person = np.unique(people, return_inverse=True)
    trials = np.bincount(person).astype(float)
    if len(trials) < 2:
        return Interval(0.0, 1.0)
    share = float(np.mean(correct))
    repeats = 1.0 if clips is None else _repeats(correct, clips)
    right = np.bincount(person, weights=correct)
    angles, weights = _people_posterior(right / repeats, trials / repeats)
    cumulated = np.concatenate([[0.0], weights.cumsum()])
    edges = np.concatenate([[angles[0]], (angles[1:] + angles[:-1]) / 2, [angles[-1]]])
    low, high = (float(np.sin(np.interp(tail, cumulated, edges)) ** 2) for tail in (0.025, 0.975))
    interval = Interval(min(low, share) if share else 0.0, max(high, share) if share < 1 else 1.0)
    if len(trials) >= _FEW_PEOPLE:
        other = _wilson(share, _effective_trials(right / repeats, trials / repeats))
        interval = max(interval, other, key=lambda found: found.high - found.low)
    return interval


def _effective_trials(right: np.ndarray, trials: np.ndarray) -> float:
    """How many independent trials tell as much as these, by the spread between groups; at most all of them.

    Args:
        right: (groups,), at least two.
        trials: (groups,).
    """
    import scipy.stats

    total, share, groups = trials.sum(), right.sum() / trials.sum(), len(trials)
    variance = groups / (groups - 1) * ((right - share * trials) ** 2).sum() / total**2
    simple = share * (1 - share) / max(total - 1, 1)
    if not variance > simple * (1 + 1e-9):  # also where all are right, or none is
        return float(total)
    few = scipy.stats.t.ppf(0.975, max(total - 1, 1)) / scipy.stats.t.ppf(0.975, groups - 1)
    return float(min(total, total * simple / variance * few**2))


def _repeats(correct: np.ndarray, clips: np.ndarray) -> float:
    """How many trials of the same clips tell as much as one: 1, if they differ by chance alone.

    At most the mean number of trials of a clip; that also where all trials went the same way.
    """
    _, clip = np.unique(clips, return_inverse=True)
    trials, right = np.bincount(clip).astype(float), np.bincount(clip, weights=correct)
    most = float(len(correct) / len(trials))
    if len(trials) == 1 or right.sum() in (0, len(correct)):
        return most
    return min(most, len(correct) / _effective_trials(right, trials))


def _wilson(share: float, trials: float) -> Interval:
    z = _NORMAL
    middle = share + z**2 / 2 / trials
    reach = z * np.sqrt(share * (1 - share) / trials + z**2 / 4 / trials**2)
    low, high = ((middle + sign * reach) / (1 + z**2 / trials) for sign in (-1, 1))
    return Interval(max(float(low), 0.0) if share else 0.0, min(float(high), 1.0) if share < 1 else 1.0)


def _people_posterior(right: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the mean share of all people may be, after what these people did: angles (sin^2 is the share), and weights.

    The model: each person has a share of their own, from a Beta distribution with mean m and correlation r between
    clips of one person. The prior of m is Jeffreys', that of r is Beta(1, 3). All of r is summed over.

    Args:
        right: (people,), successes; with repeats of clips they need not be whole numbers.
        trials: (people,).
    """
    angles = (np.arange(_GRID[0]) + 0.5) / _GRID[0] * np.pi / 2
    logs = np.log(np.geomspace(*_CORRELATIONS, _GRID[1]))
    for _ in range(3):  # first all values, then those that have weight, on a finer grid
        logarithm = _log_likelihood(angles, np.exp(logs), right, trials)
        logarithm += logs + 2 * np.log1p(-np.exp(logs))  # the prior of r; the grid is even in the logarithm of r
        weights = np.exp(logarithm - logarithm.max())
        used, used_weights = angles, weights.sum(axis=1) / weights.sum()
        angles, logs = _finer(angles, used_weights), _finer(logs, weights.sum(axis=0))
    return used, used_weights


def _finer(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """As many values, over those that have weight and one more on each side."""
    kept = np.flatnonzero(weights > 1e-7 * weights.max())
    return np.linspace(values[max(kept[0] - 1, 0)], values[min(kept[-1] + 1, len(values) - 1)], len(values))


def _log_likelihood(angles: np.ndarray, correlations: np.ndarray, right: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Of Beta-binomials, summed over people, without the binomial coefficients: (angles, correlations)."""
    import scipy.special

    strength = ((1 - correlations) / correlations)[None, :]
    share = np.sin(angles)[:, None] ** 2
    first, second = share * strength, (1 - share) * strength
    alone = scipy.special.betaln(first, second)
    return (
        _log_gammas(first, right)
        + _log_gammas(second, trials - right)
        - _log_gammas(strength, trials)
        - len(trials) * alone
    )


def _log_gammas(grid: np.ndarray, added: np.ndarray) -> np.ndarray:
    """The sum of log gamma(grid + a) over all a, for each value of the grid; few a at a time are in memory."""
    import scipy.special

    values, counts = np.unique(added.round(9), return_counts=True)
    total = np.zeros(grid.shape)
    for first in range(0, len(values), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        total += scipy.special.gammaln(grid[..., None] + values[some]) @ counts[some]
    return total


def rate_interval(sources: np.ndarray, hours: float, networks: int = 1) -> Interval:
    """95 % interval of a rate, in events an hour, where one source may cause several events.

    Fay and Feuer (1997): a source counts once, with its number of events as its weight. If all sources differ, this is
    Garwood's interval (1936).

    Args:
        sources: (events,), what caused each: who spoke, or the background recording.
        hours: in which the events were counted.
        networks: how many heard these same hours; the rate is the mean of theirs.
    """
    import scipy.stats

    weights = np.unique(sources, return_counts=True)[1] / networks
    total, squares, largest = float(weights.sum()), float((weights**2).sum()), float(weights.max(initial=1))
    low = 0.0
    if total:
        low = squares / (2 * total) * scipy.stats.chi2.ppf(0.025, 2 * total**2 / squares)
    more, more_squares = total + largest, squares + largest**2
    high = more_squares / (2 * more) * scipy.stats.chi2.ppf(0.975, 2 * more**2 / more_squares)
    return Interval(float(low) / hours, float(high) / hours)


def seeds_interval(outcomes: Sequence[Outcomes]) -> Interval:
    """95 % interval of a share for other people and other seeds.

    Args:
        outcomes: of one seed each, on the same clips. The share is the mean of theirs. With one seed, nothing is known
            of others, and the interval is for other people alone.
    """
    correct, people, clips = (
        np.concatenate([getattr(one, name) for one in outcomes]) for name in ("correct", "people", "clips")
    )
    return over_seeds(
        share_interval(correct, people, clips), [float(one.correct.mean()) for one in outcomes], highest=1
    )


def over_seeds(pooled: Interval, by_seed: Sequence[float], highest: float = math.inf) -> Interval:
    """The interval of a mean over seeds, for other people and other seeds. It begins at 0 or above.

    The variances of people and seeds are added, or it is the t-interval over seeds, whichever is wider.

    Args:
        pooled: the interval of all seeds' trials, for other people.
        by_seed: the figure of each seed.
        highest: that the figure can be: 1 for a share.
    """
    import scipy.stats

    mean, seeds = float(np.mean(by_seed)), len(by_seed)
    if seeds < 2:
        return pooled
    error = float(np.std(by_seed, ddof=1) / np.sqrt(seeds))
    below, above = (
        max(float(np.hypot(reach, _NORMAL * error)), float(scipy.stats.t.ppf(0.975, seeds - 1)) * error)
        for reach in (mean - pooled.low, pooled.high - mean)
    )
    return Interval(max(mean - below, 0.0), min(mean + above, highest))


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
    enough = clips >= min(FEWEST_CLIPS, clips.max())
    accuracies = np.sort((np.bincount(speaker, weights=correct) / clips)[enough])
    count = max(1, round(share * len(accuracies)))
    return float(accuracies[:count].mean()), float(accuracies[-count:].mean())


def accuracy_difference(
    first: np.ndarray, second: np.ndarray, people: np.ndarray, clips: np.ndarray | None = None
) -> Difference:
    """Whether the second of two networks is better, on the same clips.

    The interval is that of a product: the share of the trials in which the two differ, times by how much more of these
    the second one gets right. Both are shares, with the model of people that `share_interval` has, its repeats of a
    clip and its silent clips. From ten people on it is this or a t-interval over people, whichever is wider.

    Args:
        first: bool (trials,), whether the first one is right.
        second: likewise.
        people: (trials,), who speaks in each.
        clips: (trials,), which clip it is, if clips are tried repeatedly; McNemar's test forgets that.
    """
    import scipy.stats

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    p_value = scipy.stats.binomtest(only_second, differing).pvalue if differing else 1.0

    def of(some: np.ndarray) -> tuple[float, Interval]:
        clip = None if clips is None else clips[some]
        interval = _difference_interval(first[some], second[some], people[some], clip)
        return float(second[some].mean() - first[some].mean()), interval

    accuracy = float(second.mean() - first.mean())
    return Difference(accuracy, _over_strata(people, of), only_first, only_second, float(p_value))


def _difference_interval(
    first: np.ndarray, second: np.ndarray, people: np.ndarray, clips: np.ndarray | None
) -> Interval:
    """The interval of `accuracy_difference`, of one stratum."""
    import scipy.stats

    _, person = np.unique(people, return_inverse=True)
    trials = np.bincount(person).astype(float)
    if len(trials) < 2:  # of one person nothing follows for others
        return Interval(-1.0, 1.0)
    difference = float(second.mean() - first.mean())
    differ, won = first != second, second & ~first
    differing, wins = np.bincount(person, weights=differ), np.bincount(person, weights=won)
    repeats = 1.0 if clips is None else _repeats(differ, clips)
    angles, weights = _people_posterior(differing / repeats, trials / repeats)
    won_angles, won_weights = _UNKNOWN_SHARE
    if differ.any():
        some = differing > 0
        repeats = 1.0 if clips is None else _repeats(won[differ], clips[differ])
        won_angles, won_weights = _people_posterior(wins[some] / repeats, differing[some] / repeats)
    gains = (np.sin(angles) ** 2)[:, None] * (2 * np.sin(won_angles) ** 2 - 1)
    order = np.argsort(gains, axis=None)
    cumulated = (weights[:, None] * won_weights).ravel()[order].cumsum()
    low, high = (float(gains.ravel()[order[np.searchsorted(cumulated, tail)]]) for tail in (0.025, 0.975))
    interval = Interval(min(low, difference), max(high, difference))
    if len(trials) >= _FEW_PEOPLE:
        gain = 2 * wins - differing
        variance = len(trials) / (len(trials) - 1) * ((gain - difference * trials) ** 2).sum() / trials.sum() ** 2
        reach = float(scipy.stats.t.ppf(0.975, len(trials) - 1) * np.sqrt(variance))
        other = Interval(difference - reach, difference + reach)
        interval = max(interval, other, key=lambda found: found.high - found.low)
    return interval
