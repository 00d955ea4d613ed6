"""CPU time of training to the validation accuracy of the original recipe on *ten*, three seeds each.

    python benchmarks/time_to_accuracy.py                        # from the publisher's address: 2.4 GB
    python benchmarks/time_to_accuracy.py --mirror file:///data  # from an archive in a folder

A network of the presets needs two epochs for what the original recipe reaches at its end. Writes
benchmarks/time_to_accuracy.csv; CPU time is of the whole stage, its start and the reading of the features in it.
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
    """Trains both, seed by seed."""
    asked = parser(__doc__).parse_args()
    for recipe, changes in RECIPES.items():
        choice = {**changes, **ten(asked.mirror)}
        with downloaded(choice) as project:
            for seed in SEEDS:
                figures = run(project, {**choice, "seed": seed}, evaluated=False)["train"]
                add_row(TABLE, {"recipe": recipe, "seed": seed} | {n: figures[n] for n in COLUMNS[2:]}, COLUMNS, KEY)


if __name__ == "__main__":
    main()
