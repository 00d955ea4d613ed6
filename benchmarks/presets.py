"""The presets on real speech, three seeds each: the figures of the README's table.

    python benchmarks/presets.py                                       # from the publishers' addresses: 2.5 GB
    python benchmarks/presets.py --mirror file:///data --case best     # from archives in a folder; one case alone

Runs the pipeline's own stages in a scratch folder and writes benchmarks/presets.csv, a row after each training.
"""

from pathlib import Path
from typing import Any

from runs import EIGHT, SEEDS, add_row, address, downloaded, parser, preset, run, ten

TABLE = Path(__file__).with_suffix(".csv")
STREAM = {"stream_minutes": 240}  # 0.5 false alarms an hour are then two
FIGURES = (
    *("test_clips", "accuracy", "accuracy_low", "accuracy_high", "accuracy_speakers_low", "accuracy_speakers_high"),
    *("noise_0db_accuracy", "noise_0db_accuracy_low", "noise_0db_accuracy_high"),
    *("stream_hours", "stream_words", "stream_missed", "stream_missed_low", "stream_missed_high", "stream_wrong"),
    *("stream_false_alarms_an_hour", "stream_false_alarms_an_hour_low", "stream_false_alarms_an_hour_high"),
    *("recall__silence_", "recall__silence__low", "recall__silence__high"),
    *("recall__unknown_", "recall__unknown__low", "recall__unknown__high"),
    *("unheard_clips", "unheard_rejected", "unheard_rejected_low", "unheard_rejected_high"),
)
COLUMNS = ("case", "seed", "parameters", "train_clips", "epochs", "cpu_seconds", "seconds", *FIGURES)


def cases(mirror: str | None) -> dict[str, dict[str, Any]]:
    """What is set beside the seed, by case."""
    companion = address(mirror, "speech_commands_test_set") or "speech_commands_test_set"
    rejecting = {**ten(mirror), "words": list(EIGHT), "test_dataset": companion}
    return {
        "fast": {**preset("fast"), **ten(mirror), **STREAM},
        "best": {**preset("best"), **ten(mirror), **STREAM},
        "balanced": {**preset("balanced"), **rejecting, **STREAM},
    }


def main() -> None:
    """Trains them all, or one case."""
    options = parser(__doc__)
    options.add_argument("--case", choices=list(cases(None)), help="this one alone")
    options.add_argument("--seed", type=int, choices=SEEDS, help="this one alone")
    asked = options.parse_args()
    for case, choice in cases(asked.mirror).items():
        if asked.case in (None, case):
            with downloaded(choice) as project:
                for seed in SEEDS if asked.seed is None else [asked.seed]:
                    metrics = run(project, {**choice, "seed": seed})
                    row = {"case": case, "seed": seed, "train_clips": metrics["featurize"]["train"]}
                    row |= {name: metrics["train"][name] for name in ("parameters", "epochs", "cpu_seconds", "seconds")}
                    row |= {name: metrics["evaluate"].get(name, "") for name in FIGURES}
                    add_row(TABLE, row, COLUMNS, ("case", "seed"))


if __name__ == "__main__":
    main()
