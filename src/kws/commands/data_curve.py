"""`make curve`: how accuracy grows with the number of training clips, and an estimate for more clips."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

import numpy as np

from kws.commands.exp import run_series, split_settings
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import folder_written_whole, read_csv, read_json, write_csv
from kws.core.params import SILENCE, UNKNOWN
from kws.plots.figures import data_curve_figure, save_figure
from kws.records.spec import FeatureSpec

SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)  # of the training clips; the last one remains in params.yaml
FITTED = 3  # the number of largest shares to which the power law is fitted
TIMES = (2, 4)  # the factors for which accuracy is estimated
FOLDER = paths.PLOTS / "curve"
COLUMNS = ("share", "clips_a_class", "accuracy", "accuracy_low", "accuracy_high")


def power_law(rows: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Error as a * clips ** -b (Hestness et al., 2017, arXiv:1712.00409), fitted on the logarithms: a, b.

    The fit is to the larger shares: with very few clips a network guesses, and its errors follow no power law.
    """
    largest = rows[-FITTED:]
    clips, errors = ([row["clips_a_class"] for row in largest], [1 - row["accuracy"] for row in largest])
    if len(set(clips)) == 1:  # all shares of very few clips are one clip
        return mean(errors), 0.0
    slope, level = np.polyfit(np.log(clips), np.log(np.maximum(errors, 1e-4)), 1)
    return float(np.exp(level)), float(-slope)


def estimate(rows: Sequence[Mapping[str, float]]) -> str:
    """A sentence that estimates the accuracy with more clips."""
    clips = rows[-1]["clips_a_class"]
    level, slope = power_law(rows)
    if rows[-FITTED]["clips_a_class"] == clips:
        return f"{clips:.0f} training clips of each class are too few for a curve: all shares of them are the same."
    if slope <= 0:
        return "More clips of each class brought nothing here: look at the mistakes, or at the network, first."
    foreseen = (
        f"{times} times as many ({times * clips:.0f}) about {1 - level * (times * clips) ** -slope:.1%}"
        for times in TIMES
    )
    return (
        f"{clips:.0f} training clips of each class give {rows[-1]['accuracy']:.1%}; {', '.join(foreseen)}, "
        "if the curve goes on as it does, and the new clips are of new speakers."
    )


def main() -> None:
    """Runs an experiment for each share, and draws the curve."""
    try:
        preset, settings = sys.argv[1], split_settings(sys.argv[2])
        results = run_series(preset, settings, [f"train_share={share}" for share in SHARES], _result)
    except UserError as error:
        sys.exit(f"error: {error}")
    rows = [{"share": share} | result for share, result in zip(SHARES, results, strict=True)]
    with folder_written_whole(FOLDER) as folder:
        write_csv(folder / "curve.csv", rows, COLUMNS)
        figure = data_curve_figure(rows, power_law(rows), FeatureSpec.read(paths.SPEC).test_synthetic)
        save_figure(figure, folder / "curve.png")
        (folder / "estimate.txt").write_text(estimate(rows) + "\n")
    print(f"{estimate(rows)}\nThe curve: {FOLDER / 'curve.png'}")


def _result() -> dict[str, float]:
    scores = read_json(paths.METRICS / "evaluate.json")
    return {"clips_a_class": round(mean(_clips_of_words().values()), 1)} | {name: scores[name] for name in COLUMNS[2:]}


def _clips_of_words() -> Counter[str]:
    """The number of training clips of each word."""
    rows = [row for row in read_csv(paths.MANIFEST) if row["split"] == "train" and row["status"] == "ok"]
    return Counter(row["class"] for row in rows if row["class"] not in (UNKNOWN, SILENCE))


if __name__ == "__main__":
    main()
