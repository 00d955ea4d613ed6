"""`make folds N=5`: leave-speakers-out cross-validation, for data sets too small for a test split of their own."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kws.commands.exp import run_series, split_settings
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import folder_written_whole, read_json, write_csv
from kws.evaluate.answers import Answers, read_answers
from kws.evaluate.metrics import rounded, share_figures
from kws.plots.figures import folds_figure, save_figure
from kws.recordings.background import is_nobody
from kws.recordings.source import DataSource

FOLDER = paths.PLOTS / "folds"
MOST = 99  # folds
COLUMNS = ("fold", "speakers", "test_clips", "accuracy", "accuracy_low", "accuracy_high")


def fold_rows(folds: Sequence[Answers]) -> list[dict[str, Any]]:
    """A row for each fold, given the answers to its test clips, and one for all answers; intervals for other people.

    Clips of computed voices are left out: the same voices speak in the test of every fold.
    """
    folds = [answers.of_people() for answers in folds]
    rows = [_row(str(number), answers.speakers, answers.correct) for number, answers in enumerate(folds, start=1)]
    speakers, correct = (
        np.concatenate([getattr(answers, name) for answers in folds]) for name in ("speakers", "correct")
    )
    return [*rows, _row("all", speakers, correct)]


def _row(fold: str, speakers: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    accuracies = rounded(share_figures("accuracy", correct, speakers)).values()
    people = sum(not is_nobody(speaker) for speaker in set(speakers))
    return dict(zip(COLUMNS, (fold, people, len(correct), *accuracies), strict=True))


def report(rows: Sequence[Mapping[str, Any]], *, named: bool, kept: int, computed: int) -> str:
    """The table as text, and what its figures mean.

    Args:
        rows: as `fold_rows` returns them.
        named: whether the data set says who speaks.
        kept: how many training clips are what `kws listen --keep` has heard.
        computed: how many answers are to clips of computed voices. They are not in the rows.
    """
    *folds, pooled = rows
    interval = _interval(pooled["accuracy_low"], pooled["accuracy_high"])
    accuracies = [row["accuracy"] for row in folds]
    table = "\n".join(
        f"{row['fold']:>4}  {row['speakers']:>8}  {row['test_clips']:>10}  {row['accuracy']:>8.1%}  "
        f"{_interval(row['accuracy_low'], row['accuracy_high'])}"
        for row in rows
    )
    heard = (
        "Nobody was tested by a network that had heard them."
        if named
        else "The data set does not say who speaks: training may contain people of the test, and the accuracy may be "
        "too high for new people."
    )
    if kept:
        heard = (
            f"{heard} Each training also has {kept} clips that kws listen --keep has heard, and nobody knows who "
            "speaks in them: if people of the test do, the accuracy is too high for new people."
        )
    if computed:
        heard = (
            f"{heard} Left out are {computed} answers to clips of computed voices, which say words that nobody "
            "recorded: the same voices speak in every fold."
        )
    return f"""fold  speakers  test clips  accuracy  95 % interval
{table}
Mean of the folds {np.mean(accuracies):.1%}, from {min(accuracies):.1%} to {max(accuracies):.1%}.
All {pooled["test_clips"]} answers: {pooled["accuracy"]:.1%}, 95 % interval {interval}.
{heard} These are {len(folds)} networks, each trained on a part of the
people: one that is trained on all of them is likely a little better. The intervals are for other people like these,
and do not know that the networks would be others, too."""


def _interval(low: float, high: float) -> str:
    return f"{low:.1%} to {high:.1%}"


def _series(number: str) -> list[str]:
    """The setting of each fold."""
    if not number.isdecimal() or not 2 <= int(number) <= MOST:
        raise UserError(f"N={number}: give the number of folds, 2 to {MOST}")
    return [f"fold={fold}/{int(number)}" for fold in range(1, int(number) + 1)]


def main() -> None:
    """Runs an experiment for each fold, writes the table and draws the picture."""
    before = paths.PARAMS.read_text(encoding="utf-8")
    try:
        preset, settings, folds = sys.argv[1], split_settings(sys.argv[2]), _series(sys.argv[3])
        results = run_series(preset, settings, folds, lambda: read_answers(paths.ANSWERS))
        named = DataSource.read(paths.SOURCE).speakers != "one a file"
        kept = read_json(paths.METRICS / "evaluate.json").get("heard_clips", 0)
    except UserError as error:
        sys.exit(f"error: {error}")
    paths.PARAMS.write_text(before, encoding="utf-8")  # else the next experiment would be of the last fold, unnoticed
    answers = [answers for answers, _, _ in results]
    rows = fold_rows(answers)
    told = report(rows, named=named, kept=kept, computed=sum(int(fold.computed.sum()) for fold in answers))
    with folder_written_whole(FOLDER) as folder:
        write_csv(folder / "folds.csv", rows, COLUMNS)
        save_figure(folds_figure(rows, synthetic=results[0][2]), folder / "folds.png")
        (folder / "report.txt").write_text(told + "\n", encoding="utf-8")
    print(f"{told}\nThe picture: {FOLDER / 'folds.png'}")


if __name__ == "__main__":
    main()
