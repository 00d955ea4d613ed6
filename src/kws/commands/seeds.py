"""`make seeds N=5`: one experiment with several seeds, and what holds for other seeds and other people."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kws.commands.exp import run_series, split_settings
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import folder_written_whole, write_csv
from kws.core.params import load_params
from kws.evaluate import seeds
from kws.evaluate.answers import Answers, read_answers
from kws.evaluate.metrics import rounded
from kws.evaluate.stream import StreamOutcome, read_stream
from kws.plots.figures import save_figure, seeds_figure

FOLDER = paths.PLOTS / "seeds"
MOST = 99  # seeds
ALARMS = "stream_false_alarms_an_hour"
NAMES = {
    "validation_accuracy": "validation accuracy",
    "accuracy": "test accuracy",
    "stream_missed": "missed words",
    ALARMS: "false alarms an hour",
}


@dataclass(frozen=True)
class SeedResult:
    """What an experiment with one seed gives.

    Attributes:
        validation: answers to the validation clips.
        test: answers to the test clips.
        stream: what becomes of the test stream, at the threshold that the validation stream chose.
        synthetic: whether the test clips are computed voices.
    """

    validation: Answers
    test: Answers
    stream: StreamOutcome
    synthetic: bool


def read_result() -> SeedResult:
    """The result of the experiment in the workspace."""
    validation, _, _ = read_answers(paths.VALIDATION)
    test, _, synthetic = read_answers(paths.ANSWERS)
    return SeedResult(validation, test, read_stream(paths.STREAM), synthetic)


def seed_rows(results: Sequence[SeedResult]) -> list[dict[str, Any]]:
    """A row for each seed, with intervals for other people, and one for all: their mean, for other people and seeds."""
    rows = [{"seed": number, **_figures([result])} for number, result in enumerate(results, start=1)]
    return [*rows, {"seed": "all", **_figures(results)}]


def _figures(results: Sequence[SeedResult]) -> dict[str, float]:
    streams = [result.stream for result in results]
    figures = {
        **seeds.accuracy("validation_accuracy", [result.validation for result in results]),
        **seeds.accuracy("accuracy", [result.test for result in results]),
        **seeds.missed_words("stream_missed", streams),
        **seeds.false_alarms(ALARMS, streams),
    }
    return rounded(figures)


def report(rows: Sequence[Mapping[str, Any]], *, at_random: bool, computed: str) -> str:
    """The table as text, and what its figures mean.

    Args:
        rows: as `seed_rows` returns them.
        at_random: whether each seed drew its own splits.
        computed: what `about_computed` says.
    """
    *single, pooled = rows
    names = {name: label for name, label in NAMES.items() if name in pooled}
    lines = ["seed  " + "  ".join(f"{label:>20}" for label in names.values())]
    lines += [f"{row['seed']:>4}  " + "  ".join(f"{_shown(row[name], name):>20}" for name in names) for row in single]
    lines.append("mean  " + "  ".join(f"{_shown(pooled[name], name):>20}" for name in names))
    intervals = (f"{_shown(pooled[f'{n}_low'], n)} to {_shown(pooled[f'{n}_high'], n)}" for n in names)
    lines.append("      " + "  ".join(f"{interval:>20}" for interval in intervals))
    table = "\n".join(lines)
    splits = ""
    if at_random:
        splits = (
            "\nThe split is random: each seed has other clips in training, validation and test, and another stream."
        )
    return f"""{table}
Below the mean is its 95 % interval, for other people and other seeds, from {len(single)} seeds. The intervals in
{FOLDER / "seeds.csv"} of single seeds are for other people alone. Choose among experiments by validation accuracy.
In the stream, each network has the threshold that its own validation stream chose.{splits}{computed}"""


def about_computed(result: SeedResult, voices: int) -> str:
    """A line, if computed voices speak beside people: what the interval and the figures then mean. Else nothing.

    Args:
        result: of a seed. All have the same clips of computed voices.
        voices: how many of them speak in training.
    """
    if not voices:
        return ""
    line = (
        f"\nThe {voices} computed voices in training are the same for every seed: the intervals do not hold other "
        "voices, and are narrower than they should be."
    )
    said = {name: getattr(result, name).computed for name in ("validation", "test")}
    if any(computed.any() for computed in said.values()):
        shares = " and ".join(f"{computed.sum()} of {len(computed)} {name} clips" for name, computed in said.items())
        line += f"\nComputed voices say {shares}: the figures mix them with people."
    return line


def _shown(value: float, name: str) -> str:
    return f"{value:.2f}" if name == ALARMS else f"{value:.1%}"


def _series(number: str, settings: Sequence[str]) -> list[str]:
    """The setting of each seed."""
    if not number.isdecimal() or not 2 <= int(number) <= MOST:
        raise UserError(f"N={number}: give the number of seeds, 2 to {MOST}")
    if any(setting.startswith("seed=") for setting in settings):
        raise UserError(f"SET: make seeds sets the seed itself, from 1 to {number}; leave it out")
    return [f"seed={seed}" for seed in range(1, int(number) + 1)]


def main() -> None:
    """Runs an experiment for each seed, writes the table and draws the picture."""
    before = paths.PARAMS.read_text(encoding="utf-8")
    try:
        preset, settings = sys.argv[1], split_settings(sys.argv[2])
        results = run_series(preset, settings, _series(sys.argv[3], settings), read_result)
        params = load_params()
    except UserError as error:
        sys.exit(f"error: {error}")
    paths.PARAMS.write_text(before, encoding="utf-8")  # else the next experiment would be of the last seed, unnoticed
    rows = seed_rows(results)
    computed = about_computed(results[0], params.computed_voices)
    told = report(rows, at_random=params.split == "random", computed=computed)
    columns = ["seed", *(f"{name}{end}" for name in NAMES if name in rows[-1] for end in ("", "_low", "_high"))]
    with folder_written_whole(FOLDER) as folder:
        write_csv(folder / "seeds.csv", rows, columns)
        names = {name: label for name, label in NAMES.items() if name in rows[-1]}
        save_figure(
            seeds_figure(rows, names, results[0].test.voices(synthetic=results[0].synthetic)), folder / "seeds.png"
        )
        (folder / "report.txt").write_text(told + "\n", encoding="utf-8")
    print(f"{told}\nThe picture: {FOLDER / 'seeds.png'}")


if __name__ == "__main__":
    main()
