"""Measures how often the 95 % intervals of the evaluation hold the true value, in simulations whose truth is known.

    python benchmarks/coverage.py                  # all kinds of intervals, about half an hour on one core
    python benchmarks/coverage.py --kind seeds     # only one kind
    python benchmarks/coverage.py --runs 100       # fewer simulations of each scenario

Writes benchmarks/coverage.csv, a row for each scenario and each way to make an interval. The rows *kws* are made by the
pipeline's own functions; the others show what simpler ways would give. docs/evaluation.md has a summary.
"""

import argparse
import csv
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from kws.commands.data_curve import foreseen
from kws.core.files import write_csv
from kws.evaluate import metrics
from kws.evaluate import seeds as over_seeds
from kws.evaluate.metrics import Interval, Outcomes
from kws.evaluate.stream import StreamOutcome
from kws.recordings.background import NOBODY

TABLE = Path(__file__).with_suffix(".csv")
COLUMNS = ("kind", "scenario", "interval", "coverage", "below", "above", "width", "runs")
OURS = "kws"
RESAMPLES = 400

Intervals = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Scenario:
    """A world with a known truth.

    Attributes:
        kind: of interval.
        name: what is simulated.
        truth: the value that an interval should hold.
        draw: makes one data set, and the intervals of it, by name.
    """

    kind: str
    name: str
    truth: float
    draw: Callable[[np.random.Generator], Intervals]


def people_shares(rng: np.random.Generator, people: int, mean: float, correlation: float) -> np.ndarray:
    """Share of each person, from a Beta distribution; correlation between two clips of one person."""
    if correlation == 0:
        return np.full(people, mean)
    strength = (1 - correlation) / correlation
    return rng.beta(mean * strength, (1 - mean) * strength, size=people)


def clip_counts(rng: np.random.Generator, people: int, clips: int | str) -> np.ndarray:
    """Clips of each person: a number, or `1 to 50`, most people with few."""
    return np.full(people, clips) if isinstance(clips, int) else np.minimum(rng.geometric(0.1, people), 50)


def bootstrap(correct: np.ndarray, person: np.ndarray, rng: np.random.Generator, *, clips: bool) -> Interval:
    """Percentile bootstrap over people (Efron, 1979), and over the clips within them, if asked for."""
    trials, right = np.bincount(person), np.bincount(person, weights=correct)
    drawn = rng.integers(len(trials), size=(RESAMPLES, len(trials)))
    hits = rng.binomial(trials[drawn], (right / trials)[drawn]) if clips else right[drawn]
    low, high = np.quantile(hits.sum(axis=1) / trials[drawn].sum(axis=1), [0.025, 0.975])
    return Interval(float(low), float(high))


def wilson(correct: np.ndarray) -> Interval:
    """The interval of Wilson (1927), which takes all trials as independent."""
    found = scipy.stats.binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    return Interval(float(found.low), float(found.high))


def share_scenarios() -> Iterator[Scenario]:
    """Accuracy: of people who differ little or much, with few clips or many."""

    def scenario(people: int, clips: int | str, correlation: float, mean: float) -> Scenario:
        def draw(rng: np.random.Generator) -> Intervals:
            person = np.repeat(np.arange(people), clip_counts(rng, people, clips))
            return shares_of(rng, person, people_shares(rng, people, mean, correlation))

        return Scenario("share", f"{people} people, {clips} clips, correlation {correlation}, {mean:.0%}", mean, draw)

    def shares_of(rng: np.random.Generator, person: np.ndarray, share: np.ndarray) -> Intervals:
        correct = rng.random(len(person)) < share[person]
        return {
            OURS: metrics.share_interval(correct, person),
            "Wilson, all clips": wilson(correct),
            "bootstrap over people": bootstrap(correct, person, rng, clips=False),
            "bootstrap over people and clips": bootstrap(correct, person, rng, clips=True),
        }

    for people, clips in itertools.product((3, 5, 10, 30, 200), (1, 5, 50, "1 to 50")):
        for correlation in (0.0,) if clips == 1 else (0.0, 0.05, 0.3):
            for mean in (0.6, 0.9, 0.97):
                yield scenario(people, clips, correlation, mean)

    def outsiders(people: int, clips: int | str) -> Scenario:
        def draw(rng: np.random.Generator) -> Intervals:
            person = np.repeat(np.arange(people), clip_counts(rng, people, clips))
            return shares_of(rng, person, np.where(rng.random(people) < 0.05, 0.3, 0.97))

        name = f"{people} people, {clips} clips, 5 % of them at 30 %, the others at 97 %"
        return Scenario("share, few people fail", name, 0.05 * 0.3 + 0.95 * 0.97, draw)

    for people, clips in itertools.product((10, 30, 200), (5, "1 to 50")):
        yield outsiders(people, clips)


def silence_scenarios() -> Iterator[Scenario]:
    """Accuracy over clips of people and silent clips that kws made, which vary less."""

    def scenario(people: int, clips: int, silent: int, mean: float) -> Scenario:
        spoken, quiet = people * clips, 0.97

        def draw(rng: np.random.Generator) -> Intervals:
            person = np.repeat(np.arange(people), clips)
            heard = rng.random(spoken) < people_shares(rng, people, mean, 0.3)[person]
            correct = np.append(heard, rng.random(silent) < quiet)
            names = np.arange(people, people + silent)
            nobodies = [f"{NOBODY}{name}" for name in names]
            return {
                OURS: metrics.share_interval(correct, np.append(person.astype(str), nobodies)),
                "each silent clip as a person": metrics.share_interval(correct, np.append(person, names)),
                "Wilson, all clips": wilson(correct),
            }

        name = f"{people} people, {clips} clips, at {mean:.0%}; {silent} silent clips, at {quiet:.0%}"
        truth = (spoken * mean + silent * quiet) / (spoken + silent)
        return Scenario("share, with silence", name, truth, draw)

    for people, mean in itertools.product((5, 10, 30), (0.8, 0.95)):
        for silent in (10, 40, 200):
            yield scenario(people, 40, silent, mean)


def stream_scenarios() -> Iterator[Scenario]:
    """Missed words of a stream: clips come again. In some worlds a clip fares alike each time, in others not."""

    def scenario(people: int, clips: int, repeats: int, alike: float) -> Scenario:
        def draw(rng: np.random.Generator) -> Intervals:
            person = np.repeat(np.arange(people), clips)
            share = people_shares(rng, people, 0.15, 0.1)[person]
            fixed = rng.random(len(person)) < share
            clip = np.repeat(np.arange(len(person)), repeats)
            missed = np.where(rng.random(len(clip)) < alike, fixed[clip], rng.random(len(clip)) < share[clip])
            return {
                OURS: metrics.share_interval(missed, person[clip], clip),
                "Wilson, all words": wilson(missed),
            }

        name = f"{people} people, {clips} clips, {repeats} times each, {alike:.0%} of the times alike"
        return Scenario("missed words", name, 0.15, draw)

    for people, clips, repeats in ((18, 1, 70), (10, 5, 20), (30, 10, 5), (200, 5, 3)):
        for alike in (0.0, 0.5, 1.0):
            yield scenario(people, clips, repeats, alike)


def rate_scenarios() -> Iterator[Scenario]:
    """False alarms an hour: each source causes one, or several."""

    def scenario(expected: float, size: float) -> Scenario:
        def draw(rng: np.random.Generator) -> Intervals:
            sources = rng.poisson(expected / size)
            events = np.repeat(np.arange(sources), rng.geometric(1 / size, size=sources))
            return {
                OURS: metrics.rate_interval(events, 1.0),
                "Garwood, all events": metrics.rate_interval(np.arange(len(events)), 1.0),
            }

        return Scenario("false alarms", f"{expected:g} expected, {size:g} of a source", expected, draw)

    for expected, size in itertools.product((1, 3, 10, 50), (1.0, 1.5, 3.0)):
        yield scenario(expected, size)


def background_scenarios() -> Iterator[Scenario]:
    """False alarms an hour in a few background recordings, which come again and again, for other recordings."""

    def scenario(recordings: int, expected: float, spread: float) -> Scenario:
        def draw(rng: np.random.Generator) -> Intervals:
            rates = np.full(recordings, expected / recordings)
            if spread:
                rates = rates * rng.gamma(spread**-2, spread**2, size=recordings)
            events = np.repeat(np.arange(recordings), rng.poisson(rates))
            return {
                OURS: metrics.rate_interval(events, 1.0),
                "Garwood, all events": metrics.rate_interval(np.arange(len(events)), 1.0),
            }

        name = f"{recordings} recordings, {expected:g} expected, rates differ by {spread:.0%}"
        return Scenario("false alarms, few backgrounds", name, expected, draw)

    for recordings, expected, spread in itertools.product((3, 6, 20), (3, 30), (0.0, 0.5, 1.0)):
        yield scenario(recordings, expected, spread)


def seed_rate_scenarios() -> Iterator[Scenario]:
    """False alarms an hour of several seeds that hear one stream: a source fools each network with the same chance."""

    def scenario(seeds: int, expected: float, chance: float, spread: float) -> Scenario:
        size = 1.5

        def draw(rng: np.random.Generator) -> Intervals:
            sources = np.arange(rng.poisson(expected / chance / size))
            heard = []
            for factor in np.exp(spread * rng.normal(size=seeds) - spread**2 / 2):
                fooled = sources[rng.random(len(sources)) < min(1.0, chance * factor)]
                heard.append(np.repeat(fooled, rng.geometric(1 / size, size=len(fooled))))
            rates = [float(len(alarms)) for alarms in heard]
            each = np.mean([metrics.rate_interval(alarms, 1.0) for alarms in heard], axis=0)
            reach = scipy.stats.t.ppf(0.975, seeds - 1) * np.std(rates, ddof=1) / np.sqrt(seeds)
            figures = over_seeds.false_alarms("rate", [outcome_of(alarms) for alarms in heard])
            return {
                OURS: (figures["rate_low"], figures["rate_high"]),
                "mean of the seeds' intervals": (float(each[0]), float(each[1])),
                "t-interval over seeds": (float(np.mean(rates) - reach), float(np.mean(rates) + reach)),
            }

        name = (
            f"{seeds} seeds, {expected:g} expected, {chance:.0%} of the sources fool a network, "
            f"seeds differ by {spread:.0%}"
        )
        return Scenario("false alarms, seeds", name, expected, draw)

    for seeds, expected in itertools.product((3, 5), (2, 20)):
        for chance, spread in itertools.product((0.1, 0.5), (0.05, 0.3)):
            yield scenario(seeds, expected, chance, spread)


def outcome_of(alarms: np.ndarray) -> StreamOutcome:
    """An hour with these false alarms, by their sources, and no words."""
    no_word, no_delay, no_name = np.zeros(0, bool), np.zeros(0), np.zeros(0, str)
    kinds = np.full(len(alarms), "speech")
    return StreamOutcome(1.0, no_word, no_word, no_delay, no_name, no_name, kinds, alarms.astype(str), 0.0)


def repeated_difference_scenarios() -> Iterator[Scenario]:
    """Two networks on clips that come again, as in a stream. In some worlds a clip fares alike each time."""

    def scenario(people: int, clips: int, repeats: int, alike: float, gain: float) -> Scenario:
        differing = 0.2

        def draw(rng: np.random.Generator) -> Intervals:
            person = np.repeat(np.arange(people), clips)
            clip = np.repeat(np.arange(len(person)), repeats)
            again = rng.random(len(clip)) >= alike

            def happens(mean: float) -> np.ndarray:
                share = people_shares(rng, people, mean, 0.1)[person]
                return np.where(again, rng.random(len(clip)) < share[clip], (rng.random(len(person)) < share)[clip])

            differ, wins = happens(differing), happens(0.5 + gain / 2 / differing)
            both = rng.random(len(clip)) < 0.9
            first, second = np.where(differ, ~wins, both), np.where(differ, wins, both)
            return {
                OURS: metrics.accuracy_difference(first, second, person[clip], clip).interval,
                "each time as a clip": metrics.accuracy_difference(first, second, person[clip]).interval,
            }

        name = (
            f"{people} people, {clips} clips, {repeats} times each, {alike:.0%} of the times alike, "
            f"gain {100 * gain:.0f} points"
        )
        return Scenario("difference, repeats", name, gain, draw)

    for people, clips, repeats in ((6, 1, 70), (10, 5, 20), (30, 10, 6)):
        for alike, gain in itertools.product((0.0, 0.5, 1.0), (0.0, 0.05)):
            yield scenario(people, clips, repeats, alike, gain)


def difference_scenarios() -> Iterator[Scenario]:
    """Two networks on the same clips: they differ on a share of the clips, and the second gains."""

    def scenario(people: int, clips: int | str, correlation: float, gain: float) -> Scenario:
        differing = 0.1

        def draw(rng: np.random.Generator) -> Intervals:
            person = np.repeat(np.arange(people), clip_counts(rng, people, clips))
            differ = rng.random(len(person)) < people_shares(rng, people, differing, correlation)[person]
            wins = rng.random(len(person)) < people_shares(rng, people, 0.5 + gain / 2 / differing, correlation)[person]
            both = rng.random(len(person)) < 0.9
            first, second = np.where(differ, ~wins, both), np.where(differ, wins, both)
            better = metrics.accuracy_difference(first, second, person)
            gained = np.bincount(person, weights=second.astype(int) - first.astype(int))
            trials, drawn = np.bincount(person), rng.integers(people, size=(RESAMPLES, people))
            low, high = np.quantile(gained[drawn].sum(axis=1) / trials[drawn].sum(axis=1), [0.025, 0.975])
            return {OURS: better.interval, "bootstrap over people": (float(low), float(high))}

        name = f"{people} people, {clips} clips, correlation {correlation}, gain {100 * gain:.0f} points"
        return Scenario("difference", name, gain, draw)

    for people, clips in itertools.product((3, 10, 30, 200), (5, "1 to 50")):
        for correlation, gain in itertools.product((0.0, 0.2), (0.0, 0.05)):
            yield scenario(people, clips, correlation, gain)


def seed_scenarios() -> Iterator[Scenario]:
    """The mean of several seeds on the same clips, for other people and other seeds."""

    def scenario(seeds: int, people: int, spread: float) -> Scenario:
        def draw(rng: np.random.Generator) -> Intervals:
            person = np.repeat(np.arange(people), clip_counts(rng, people, "1 to 50"))
            error = people_shares(rng, people, 0.1, 0.1)[person]
            own = rng.random(len(person))  # a clip is easy or hard for every network, seven times in ten
            outcomes = []
            for factor in np.exp(spread * rng.normal(size=seeds) - spread**2 / 2):
                luck = np.where(rng.random(len(person)) < 0.7, own, rng.random(len(person)))
                outcomes.append(Outcomes(luck >= error * factor, person, np.arange(len(person))))
            shares = [float(one.correct.mean()) for one in outcomes]
            each = np.mean([metrics.share_interval(one.correct, one.people) for one in outcomes], axis=0)
            reach = scipy.stats.t.ppf(0.975, seeds - 1) * np.std(shares, ddof=1) / np.sqrt(seeds)
            return {
                OURS: metrics.seeds_interval(outcomes),
                "mean of the seeds' intervals": (float(each[0]), float(each[1])),
                "t-interval over seeds": (float(np.mean(shares) - reach), float(np.mean(shares) + reach)),
            }

        name = f"{seeds} seeds, {people} people, errors differ by {spread:.0%} between seeds"
        return Scenario("seeds", name, 0.9, draw)

    for seeds, people, spread in itertools.product((3, 5), (10, 100), (0.05, 0.3)):
        yield scenario(seeds, people, spread)


def curve_scenarios() -> Iterator[Scenario]:
    """Accuracy with four times as many clips, by a power law that is true, from five sizes with one training each."""

    def scenario(people: int, spread: float) -> Scenario:
        def error_of(clips: float) -> float:
            return float(0.9 * clips**-0.4)

        def draw(rng: np.random.Generator) -> Intervals:
            person = np.repeat(np.arange(people), 10)
            share = people_shares(rng, people, 0.1, 0.05)[person] / 0.1
            rows = []
            for clips in (25, 50, 100, 250, 500):
                error = error_of(clips) * np.exp(spread * rng.normal() - spread**2 / 2)
                correct = rng.random(len(person)) >= error * share
                rows.append({"clips_a_class": clips, **metrics.share_figures("accuracy", correct, person)})
            return {OURS: foreseen(rows, [2000])[0]}

        name = f"{people} people in validation, errors differ by {spread:.0%} between trainings"
        return Scenario("curve, four times as many clips", name, 1 - error_of(2000), draw)

    for people, spread in itertools.product((30, 100), (0.0, 0.1)):
        yield scenario(people, spread)


KINDS = {
    "share": share_scenarios,
    "silence": silence_scenarios,
    "stream": stream_scenarios,
    "rate": rate_scenarios,
    "backgrounds": background_scenarios,
    "difference": difference_scenarios,
    "repeats": repeated_difference_scenarios,
    "seeds": seed_scenarios,
    "seed-rates": seed_rate_scenarios,
    "curve": curve_scenarios,
}


def measure(scenario: Scenario, runs: int) -> list[dict[str, Any]]:
    """A row of the table for each way to make an interval."""
    rng = np.random.default_rng(1)
    drawn = [scenario.draw(rng) for _ in range(runs)]
    rows = []
    for name in drawn[0]:
        low, high = np.array([intervals[name] for intervals in drawn]).T
        below, above = float((high < scenario.truth - 1e-9).mean()), float((low > scenario.truth + 1e-9).mean())
        values = {"coverage": 1 - below - above, "below": below, "above": above, "width": float((high - low).mean())}
        row = {"kind": scenario.kind, "scenario": scenario.name, "interval": name, "runs": runs}
        rows.append(row | {what: round(value, 4) for what, value in values.items()})
    return rows


def main() -> None:
    """Simulates all kinds, or the chosen one; rows of other scenarios stay in the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kind", choices=list(KINDS), help="only this kind")
    options.add_argument("--runs", type=int, default=1000, help="simulations of each scenario")
    asked = options.parse_args()
    kept: list[dict[str, Any]] = []
    if TABLE.exists():
        with TABLE.open(newline="", encoding="utf-8") as file:
            kept = list(csv.DictReader(file))
    for kind, scenarios in KINDS.items():
        if asked.kind in (None, kind):
            for scenario in scenarios():
                rows = measure(scenario, asked.runs)
                place = (scenario.kind, scenario.name)
                kept = [row for row in kept if (row["kind"], row["scenario"]) != place] + rows
                write_csv(TABLE, kept, COLUMNS)


if __name__ == "__main__":
    main()
