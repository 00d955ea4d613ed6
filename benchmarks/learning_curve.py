"""Measures accuracy over the number of training clips, for the README: what more clips would bring.

    python benchmarks/learning_curve.py                        # from the publisher's address: 2.4 GB, some hours
    python benchmarks/learning_curve.py --mirror file:///data  # from an archive in a folder

Two recipes, each with three seeds and five sizes: the original recipe, split at random, and preset best, split by
speaker. A law is drawn out to the clips that the whole data set has of these words.

The clips of a smaller size are drawn by lot from those of a larger one. So it has fewer people and fewer clips of each,
as a part of the data set has. Writes benchmarks/learning_curve.csv (a row for each training), the laws in
learning_curve_law.csv, and docs/learning-curve.png.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter
from runs import EIGHT, ROOT, SEEDS, address, downloaded, parser, preset, quiet_figures, run, ten

from kws.commands.data_curve import FITTED, foreseen, power_law
from kws.core.files import write_csv
from kws.evaluate import seeds
from kws.evaluate.answers import Answers
from kws.evaluate.metrics import rounded
from kws.featurize.chosen import Chosen, ChosenTable
from kws.featurize.splits import leave_share_of_training
from kws.recordings.clips import Clip, read_clips, write_clips
from kws.recordings.people import speaker_split

TABLE = Path(__file__).with_suffix(".csv")
LAW_TABLE = TABLE.with_name("learning_curve_law.csv")
PICTURE = ROOT / "docs" / "learning-curve.png"
SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)  # of the training clips
COLUMNS = ("recipe", "seed", "train_clips", "test_clips", "accuracy", "accuracy_low", "accuracy_high")
LAW_COLUMNS = ("recipe", "what", "train_clips", "accuracy", "accuracy_low", "accuracy_high")
ORIGINAL_TEN = sorted((*EIGHT, "off", "on"))
# Warden, 2018 (arXiv:1804.03209), table 1: the words of the original have 38,546 clips, of which 80 % are for training
WHOLE = {"original": 30_837, "best": 30_769}
PUBLISHED_ACCURACY = 0.931  # of the original recipe

# Of one seed, by number of training clips: the answers to the test clips, and their figures
Curve = dict[int, tuple[Answers, dict[str, float]]]


def main() -> None:
    """Trains every recipe with every size and seed, and fits the laws."""
    asked = parser(__doc__).parse_args()
    rows: list[dict[str, Any]] = []
    laws: list[dict[str, Any]] = []
    for recipe, measure in (("original", original), ("best", best)):
        curves = measure(asked.mirror, asked.networks)
        for seed, curve in curves.items():
            rows += [
                {"recipe": recipe, "seed": seed, "train_clips": clips} | figures
                for clips, (_, figures) in sorted(curve.items())
            ]
        answers = [{clips: answers for clips, (answers, _) in curve.items()} for curve in curves.values()]
        laws += law_rows(recipe, answers)
    published = {"recipe": "original", "what": "published", "train_clips": WHOLE["original"]}
    laws.append(published | {"accuracy": PUBLISHED_ACCURACY})
    write_csv(TABLE, rows, COLUMNS)
    write_csv(LAW_TABLE, laws, LAW_COLUMNS)
    draw(rows, laws)


def original(mirror: str | None, networks: Path | None) -> dict[int, Curve]:
    """The answers to the test clips by seed and number of training clips, of the original recipe on its ten words."""
    choice = {"dataset": "speech_commands", "split": "random", "words": ORIGINAL_TEN}
    choice["dataset_url"] = address(mirror, "speech_commands")
    curves: defaultdict[int, Curve] = defaultdict(dict)
    with downloaded(choice) as project:
        for seed in SEEDS:
            for share in SHARES:
                metrics = run(project, {**choice, "seed": seed, "train_share": share}, networks, evaluated=False)
                curves[seed][metrics["featurize"]["train"]] = quiet_figures(project)
    return curves


def best(mirror: str | None, networks: Path | None) -> dict[int, Curve]:
    """Likewise of preset best on *ten*. Parameter train_share would draw people here, so the list of clips is drawn."""
    choice = {**preset("best"), **ten(mirror)}
    curves: defaultdict[int, Curve] = defaultdict(dict)
    with downloaded(choice) as project:
        listed = project / "data" / "raw" / "clips.csv"
        clips = list(read_clips(listed))
        for share in SHARES:
            write_clips(listed, thinned(clips, choice["words"], share))
            (project / "features.json").unlink(missing_ok=True)
            for seed in SEEDS:
                metrics = run(project, {**choice, "seed": seed}, networks, evaluated=False)
                curves[seed][metrics["featurize"]["train"]] = quiet_figures(project)
    return curves


def thinned(clips: Sequence[Clip], words: Sequence[str], share: float) -> list[Clip]:
    """A share of the training clips of each word, by lot, and all other clips."""
    training = [clip for clip in clips if clip.word in words and speaker_split(clip.speaker) == "train"]
    chosen = ChosenTable(Chosen(clip, clip.word, "train") for clip in training)
    leave_share_of_training(chosen, share, by_people=False)
    kept = [clip for clip in clips if clip.word not in words or speaker_split(clip.speaker) != "train"]
    return sorted([*kept, *(one.clip for one in chosen)], key=lambda clip: clip.name)


def law_rows(recipe: str, curves: Sequence[Mapping[int, Answers]]) -> list[dict[str, Any]]:
    """The law of a recipe, at each measured size and at that of the whole data set, with its interval.

    As in `make curve`, each point is drawn within its own interval, and the law is fitted to each draw. The interval of
    a point holds the people of the test and the spread between seeds. It takes the form of the law for granted. So each
    row `foretold` says what the law of the smaller sizes makes of the largest one, which was measured.

    Args:
        recipe: its name.
        curves: for each seed, the answers to the test clips, by number of training clips.
    """
    sizes = sorted(curves[0])
    points = [
        {"clips_a_class": size, **seeds.accuracy("accuracy", [curve[size] for curve in curves])} for size in sizes
    ]
    rows = []
    for what, used, targets in (
        ("law", points, [*sizes[-FITTED:], WHOLE[recipe]]),
        ("foretold", points[:-1], sizes[-1:]),
    ):
        level, slope = power_law(used)
        for target, interval in zip(targets, foreseen(used, targets), strict=True):
            figures = rounded({"accuracy": 1 - level * target**-slope, **interval.figures("accuracy")})
            rows.append({"recipe": recipe, "what": what, "train_clips": target, **figures})
    return rows


def draw(rows: Sequence[Mapping[str, Any]], laws: Sequence[Mapping[str, Any]]) -> None:
    """Draws both curves."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
    titles = {
        "original": "the original recipe, its ten words, random split",
        "best": "preset best, ten words, split by speaker",
    }
    for panel, (recipe, title) in zip(panels, titles.items(), strict=True):
        law = [row for row in laws if (row["recipe"], row["what"]) == (recipe, "law")]
        clips = [row["train_clips"] for row in law]
        lows, highs = ([row[f"accuracy_{end}"] for row in law] for end in ("low", "high"))
        panel.fill_between(clips, lows, highs, alpha=0.2, label="law, 95 % interval")
        panel.plot(clips, [row["accuracy"] for row in law], "--")
        for seed in SEEDS:
            measured = [row for row in rows if (row["recipe"], row["seed"]) == (recipe, seed)]
            panel.plot(
                [row["train_clips"] for row in measured],
                [row["accuracy"] for row in measured],
                "o",
                label=f"seed {seed}",
            )
        if recipe == "original":
            panel.plot(WHOLE[recipe], PUBLISHED_ACCURACY, "k*", markersize=12, label="published: 93.1 %")
        panel.set(title=title, xlabel="training clips", xscale="log")
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    panels[0].set_ylabel("test accuracy")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
