"""`make curve`: how validation accuracy grows with the training data, and an estimate for more of it."""

import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from kws.commands.exp import run_series, split_settings
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import folder_written_whole, read_csv, write_csv
from kws.core.naming import SILENCE, UNKNOWN, is_computed
from kws.core.params import load_params
from kws.evaluate.answers import read_answers
from kws.evaluate.metrics import Interval, rounded, share_figures
from kws.plots.figures import data_curve_figure, save_figure
from kws.recordings.people import is_named
from kws.records.spec import FeatureSpec

SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)  # of the people in training; the last one remains in params.yaml
FITTED = 3  # the number of largest shares to which the power law is fitted
TIMES = (2, 4)  # the factors for which accuracy is estimated
DRAWS = 2000  # of the points within their intervals
HELD = 0.87  # of the estimated intervals hold the truth, by benchmarks/coverage.csv: one training for each share
FOLDER = paths.PLOTS / "curve"
COLUMNS = ("share", "people", "clips_a_class", "accuracy", "accuracy_low", "accuracy_high")


def power_law(rows: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Error as a * clips ** -b (Hestness et al., 2017, arXiv:1712.00409), fitted on the logarithms: a, b.

    The fit is to the larger shares: with very few clips a network guesses, and its errors follow no power law.
    """
    level, slope = _fit(rows, np.array([[1 - row["accuracy"] for row in rows[-FITTED:]]]))
    return float(level[0]), float(slope[0])


def foreseen(rows: Sequence[Mapping[str, float]], clips: Sequence[float] | np.ndarray) -> list[Interval]:
    """The 95 % interval of the accuracy with so many clips of each class, if the law goes on.

    The points are drawn anew within their own intervals (on the scale of log-odds, each by itself), and the law is
    fitted to each draw.

    Args:
        rows: clips_a_class, accuracy and its interval, from few clips to many.
        clips: numbers of clips.
    """
    points = [[row[name] for row in rows[-FITTED:]] for name in ("accuracy", "accuracy_low", "accuracy_high")]
    middle, low, high = (np.log(kept / (1 - kept)) for kept in np.clip(points, 1e-4, 1 - 1e-4))
    normal = np.random.default_rng(1).normal(size=(DRAWS, len(middle)))
    reach = np.where(normal < 0, middle - low, high - middle) / 1.959964
    level, slope = _fit(rows, 1 / (1 + np.exp(middle + normal * reach)))
    ends = [np.quantile(1 - np.minimum(level * number**-slope, 1), [0.025, 0.975]) for number in clips]
    return [Interval(float(low), float(high)) for low, high in ends]


def _fit(rows: Sequence[Mapping[str, float]], errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The power laws of the largest shares with these errors, (laws, points): a and b, (laws,) each."""
    clips = np.log([row["clips_a_class"] for row in rows[-FITTED:]])
    logarithm = np.log(np.maximum(errors, 1e-4))
    if np.ptp(clips) == 0:  # all shares of very few clips are one clip
        return errors.mean(axis=1), np.zeros(len(errors))
    slope = (logarithm @ (clips - clips.mean())) / ((clips - clips.mean()) ** 2).sum()
    return np.exp(logarithm.mean(axis=1) - slope * clips.mean()), -slope


def estimate(rows: Sequence[Mapping[str, float]], *, by_people: bool, computed_voices: int) -> str:
    """Sentences that estimate the accuracy with more clips, and say what was drawn.

    Args:
        rows: of the curve, from few clips to many.
        by_people: whether the shares are of the people; otherwise they are of the clips.
        computed_voices: how many speak in each training beside people.
    """
    last = rows[-1]
    clips = last["clips_a_class"]
    level, slope = power_law(rows)
    if rows[-FITTED]["clips_a_class"] == clips:
        return f"{clips:.0f} training clips of each class are too few for a curve: all shares of them are the same."
    if slope <= 0:
        return "More clips of each class brought nothing here: look at the mistakes, or at the network, first."
    intervals = foreseen(rows, [times * clips for times in TIMES])
    more = (
        f"{times} times as many ({times * clips:.0f}) about {1 - level * (times * clips) ** -slope:.1%} "
        f"({low:.1%} to {high:.1%})"
        for times, (low, high) in zip(TIMES, intervals, strict=True)
    )
    drawn = (
        f"Drawn were people: the curve goes from {rows[0]['people']:.0f} to {last['people']:.0f} of them, and the new "
        "clips would be of new people."
        if by_people
        else "Drawn were clips: the smaller sets have fewer clips of mostly the same people, so the curve does not "
        "show what new people bring."
    )
    beside = (
        f"\nBeside these clips, {computed_voices} computed voices speak in each training. Their clips are neither "
        "counted nor tested on."
        if computed_voices
        else ""
    )
    return (
        f"{clips:.0f} training clips of each class give {last['accuracy']:.1%} on the validation clips "
        f"({last['accuracy_low']:.1%} to {last['accuracy_high']:.1%}); {', '.join(more)}, if the curve goes on as it "
        f"does. Of these intervals, about {HELD:.0%} hold the truth, if errors differ by 10% between trainings. "
        f"They do not know that another law may fit as well.\n{drawn}{beside}"
    )


def main() -> None:
    """Runs an experiment for each share, and draws the curve."""
    try:
        preset, settings = sys.argv[1], split_settings(sys.argv[2])
        results = run_series(preset, settings, [f"train_share={share}" for share in SHARES], _result)
        params = load_params()
        by_people = params.split == "speaker" and results[-1]["people"] > 0
    except UserError as error:
        sys.exit(f"error: {error}")
    rows = [{"share": share} | result for share, result in zip(SHARES, results, strict=True)]
    said = estimate(rows, by_people=by_people, computed_voices=params.computed_voices)
    with folder_written_whole(FOLDER) as folder:
        write_csv(folder / "curve.csv", rows, COLUMNS)
        law: Callable[[np.ndarray], np.ndarray] = _law(rows)
        save_figure(data_curve_figure(rows, law, FeatureSpec.read(paths.SPEC).synthetic), folder / "curve.png")
        (folder / "estimate.txt").write_text(said + "\n", encoding="utf-8")
    print(f"{said}\nThe curve: {FOLDER / 'curve.png'}")


def _law(rows: Sequence[Mapping[str, float]]) -> Callable[[np.ndarray], np.ndarray]:
    """Of numbers of clips: accuracy by the law, and the ends of its interval, (3, numbers)."""
    level, slope = power_law(rows)
    return lambda clips: np.stack([1 - level * clips**-slope, *np.array(foreseen(rows, clips)).T])


def _result() -> dict[str, Any]:
    """What an experiment gives to its row of the curve. Computed voices beside people count in none of it."""
    answers, _, _ = read_answers(paths.VALIDATION)
    answers = answers.of_people()
    trained = [
        row
        for row in read_csv(paths.MANIFEST)
        if row["split"] == "train" and row["status"] == "ok" and not is_computed(row["name"])
    ]
    words = [row["class"] for row in trained if row["class"] not in (UNKNOWN, SILENCE)]
    figures = share_figures("accuracy", answers.correct, answers.speakers)
    return {
        "people": len({row["speaker"] for row in trained if is_named(row["speaker"])}),
        "clips_a_class": round(mean(words.count(word) for word in set(words)), 1),
        **rounded(figures),
    }


if __name__ == "__main__":
    main()
