"""Measures what each augmentation, the schedule and the network bring: preset fast, smaller, with one change at a time.

    python benchmarks/ablation.py                        # from the publisher's address: 2.4 GB
    python benchmarks/ablation.py --mirror file:///data  # from an archive in a folder

Runs the pipeline's own stages in a scratch folder and writes benchmarks/ablation.csv, a row after each training. The
figures are those of the validation clips, since presets are chosen by them.
"""

from pathlib import Path
from typing import Any

from runs import SEEDS, add_row, downloaded, parser, preset, run, ten

TABLE = Path(__file__).with_suffix(".csv")
SMALLER = {"model": "tc_resnet", "width": 1.0, "epochs": 24}  # than the preset, for time
CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no shift": {"shift_ms": 0.0},
    "no speed, no frequency warp": {"speed": 0.0, "frequency_warp": 0.0},
    "no noise": {"noise_share": 0.0},
    "no gain": {"gain_db": 0.0},
    "no masks": {"time_masks": 0, "frequency_masks": 0},
    "none of these augmentations": {
        "shift_ms": 0.0,
        "speed": 0.0,
        "frequency_warp": 0.0,
        "noise_share": 0.0,
        "gain_db": 0.0,
        "time_masks": 0,
        "frequency_masks": 0,
    },
    "mixup": {"mixup": 0.3},
    "constant learning rate": {"schedule": "constant", "warmup_epochs": 0, "patience": SMALLER["epochs"]},
    "no weight averaging": {"weight_averaging": 0.0},
    "no label smoothing": {"label_smoothing": 0.0},
    "no weight decay": {"weight_decay": 0.0},
    "batches of 128": {"batch_size": 128},
    "matchboxnet": {"model": "matchboxnet"},
}
FIGURES = ("validation_accuracy", "validation_loss", "parameters", "cpu_seconds")
COLUMNS = ("change", "seed", *FIGURES)


def main() -> None:
    """Trains with every change and seed, or with the chosen ones."""
    options = parser(__doc__)
    options.add_argument("--change", choices=list(CHANGES), help="only this change")
    options.add_argument("--seed", type=int, choices=SEEDS, help="only this seed")
    asked = options.parse_args()
    unchanged = {**preset("fast"), **ten(asked.mirror), **SMALLER}
    with downloaded(unchanged) as project:
        for seed in SEEDS if asked.seed is None else [asked.seed]:
            for change, values in CHANGES.items():
                if asked.change in (None, change):
                    metrics = run(project, {**unchanged, **values, "seed": seed}, evaluated=False)
                    row = {"change": change, "seed": seed} | {name: metrics["train"][name] for name in FIGURES}
                    add_row(TABLE, row, COLUMNS, ("change", "seed"))


if __name__ == "__main__":
    main()
