"""Measures the CPU time of the original recipe on *ten*, and of a shorter recipe that is at least as accurate.

    python benchmarks/time_to_accuracy.py                        # from the publisher's address: 2.4 GB
    python benchmarks/time_to_accuracy.py --mirror file:///data  # from an archive in a folder

Each has three seeds; accuracy is that of the validation clips. The original recipe stops when the validation loss has
not fallen for two epochs. The short one has two epochs, which were enough in one trial on validation. Writes
benchmarks/time_to_accuracy.csv. CPU time is that of the whole stage, with imports and reading the features.
"""

from pathlib import Path
from typing import Any

from runs import SEEDS, add_row, downloaded, parser, preset, run, ten

TABLE = Path(__file__).with_suffix(".csv")
SHORT = {
    **preset("fast"),
    "width": 0.5,
    "epochs": 2,
    "batch_size": 32,
    "warmup_epochs": 0,
    "weight_averaging": 0.0,
    **dict.fromkeys(("shift_ms", "speed", "frequency_warp", "noise_share", "gain_db"), 0.0),
    **dict.fromkeys(("time_masks", "frequency_masks"), 0),
}
RECIPES: dict[str, dict[str, Any]] = {"original": {}, "short": SHORT}
KEY = ("recipe", "seed")
COLUMNS = (*KEY, "epochs", "cpu_seconds", "validation_accuracy")


def main() -> None:
    """Trains both recipes with every seed."""
    asked = parser(__doc__).parse_args()
    with downloaded(ten(asked.mirror)) as project:
        for recipe, changes in RECIPES.items():
            choice = {**changes, **ten(asked.mirror)}
            for seed in SEEDS:
                figures = run(project, {**choice, "seed": seed}, evaluated=False)["train"]
                add_row(TABLE, {"recipe": recipe, "seed": seed} | {n: figures[n] for n in COLUMNS[2:]}, COLUMNS, KEY)


if __name__ == "__main__":
    main()
