"""Measures the presets on real speech, and training on computed voices, with three seeds each, for the README.

    python benchmarks/presets.py                                       # from the publishers' addresses: 2.5 GB
    python benchmarks/presets.py --mirror file:///data --case best     # from archives in a folder; only one case
    pip install '.[neural]'                                            # for the case "synthetic and neural"

Runs the pipeline's own stages in a scratch folder and writes benchmarks/presets.csv, a row after each training.
"""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from runs import EIGHT, SEEDS, TEN, add_row, address, downloaded, parser, preset, run, ten, write_official_test

from kws.commands import seeds
from kws.evaluate.metrics import Interval, over_seeds

TABLE = Path(__file__).with_suffix(".csv")
STREAM = {"stream_minutes": 240}  # 0.5 false alarms an hour are then two
SHARES = (  # figures with an interval
    "accuracy",
    "noise_0db_accuracy",
    "stream_missed",
    "stream_wrong",
    "stream_within_300_ms",
    "stream_within_500_ms",
    "stream_false_alarms_an_hour",
    "stream_speech_false_alarms_an_hour",
    "stream_background_false_alarms_an_hour",
    "stream_word_false_alarms_an_hour",
    "recall__silence_",
    "recall__unknown_",
    "unheard_rejected",
)
FIGURES = (
    *("test_clips", "stream_hours", "stream_words", "stream_threshold", "stream_carries_over"),
    *("stream_delay_seconds", "stream_delay_95_seconds", "unheard_clips", "int8_accuracy", "int8_noise_0db_accuracy"),
    *(f"{name}{end}" for name in SHARES for end in ("", "_low", "_high")),
)
MEASURED = ("cpu_seconds", "stream_delay_seconds", "stream_delay_95_seconds", *SHARES)  # whose mean is told
KEY = ("case", "seed")
COLUMNS = (*KEY, "parameters", "train_clips", "epochs", "validation_accuracy", "cpu_seconds", "seconds", *FIGURES)


NO_RECORDINGS = {
    **preset("fast"),
    "dataset": "synthetic",
    "words": list(TEN),
    "synthetic_speakers": 2000,
    "synthetic_variety": 1.0,
    "model": "tc_resnet",
    "width": 2.0,
    "epochs": 20,
    "speed": 0.12,
    "frequency_warp": 0.1,
    "mixup": 0.3,
}


def cases(mirror: str | None, official_test: Path) -> dict[str, dict[str, Any]]:
    """The parameters of each case, except the seed. `official_test` contains the test clips of *ten*."""
    companion = address(mirror, "speech_commands_test_set") or "speech_commands_test_set"
    rejecting = {**ten(mirror), "words": list(EIGHT), "test_dataset": companion}
    classes = {name: preset("balanced")[name] for name in ("unknown", "silence")}
    return {
        **{name: {**preset(name), **ten(mirror), **STREAM} for name in ("fast", "best")},
        "balanced on ten": {**preset("balanced"), **ten(mirror), **STREAM},
        **{f"{name} rejecting": {**preset(name), **classes, **rejecting, **STREAM} for name in ("fast", "best")},
        "balanced": {**preset("balanced"), **rejecting, **STREAM},
        "synthetic": {**NO_RECORDINGS, "test_dataset": str(official_test)},
        "synthetic and neural": {**NO_RECORDINGS, "neural_share": 0.7, "test_dataset": str(official_test)},
    }


def main() -> None:
    """Trains every case with every seed, or the chosen ones."""
    options = parser(__doc__)
    options.add_argument("--case", choices=list(cases(None, Path())), help="only this case")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        official_test = Path(scratch) / "ten.tar"
        for case, choice in cases(asked.mirror, official_test).items():
            if asked.case in (None, case):
                if choice["dataset"] == "synthetic" and not official_test.exists():
                    write_official_test(asked.mirror, official_test)
                rows, results = [], []
                with downloaded(choice) as project:
                    for seed in SEEDS:
                        rows.append(row_of(case, seed, run(project, {**choice, "seed": seed}, asked.networks)))
                        with contextlib.chdir(project):
                            results.append(seeds.read_result())
                for row in (*rows, mean_row(rows, results)):
                    add_row(TABLE, row, COLUMNS, KEY)


def row_of(case: str, seed: int, metrics: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The row of the table for a run."""
    row = {"case": case, "seed": seed, "train_clips": metrics["featurize"]["train"]}
    of_training = ("parameters", "epochs", "validation_accuracy", "cpu_seconds", "seconds")
    row |= {name: metrics["train"][name] for name in of_training}
    return row | {name: metrics["evaluate"].get(name, "") for name in FIGURES}


def mean_row(rows: Sequence[Mapping[str, Any]], results: Sequence[seeds.SeedResult]) -> dict[str, Any]:
    """The row of a case for all seeds: means, with intervals for other people and other seeds.

    Those of accuracy, missed words and false alarms are from all clips of all seeds, as `make seeds` makes them. For
    the other figures, the mean of the seeds' intervals for other people takes that place.

    Args:
        rows: of the seeds.
        results: what became of their clips.
    """
    row: dict[str, Any] = {"case": rows[0]["case"], "seed": "all"}
    row |= {name: mean(one[name] for one in rows) for name in MEASURED if rows[0][name] != ""}
    for name in SHARES:
        if rows[0][name] != "":
            ends = (mean(one[f"{name}_{end}"] for one in rows) for end in ("low", "high"))
            row |= over_seeds(Interval(*ends), [one[name] for one in rows]).figures(name)
    pooled = {name: value for name, value in seeds.seed_rows(results)[-1].items() if name in FIGURES}
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in (row | pooled).items()}


if __name__ == "__main__":
    main()
