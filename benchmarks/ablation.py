"""What each augmentation, the schedule and the network bring: preset fast with one thing changed, on validation clips.

    python benchmarks/ablation.py                        # from the publisher's address: 2.4 GB
    python benchmarks/ablation.py --mirror file:///data  # from an archive in a folder

Runs the pipeline's own stages in a scratch folder and writes benchmarks/ablation.csv, a row after each training. The
figures are of the validation clips, since presets are chosen by them.
"""

from pathlib import Path

from runs import SEEDS, add_row, downloaded, parser, preset, run, ten

TABLE = Path(__file__).with_suffix(".csv")
EPOCHS = {"epochs": 20}  # a third of the preset's, for time
CHANGES = {
    "as it is": {},
    "no shift": {"shift_ms": 0.0},
    "no speed": {"speed": 0.0},
    "no frequency warp": {"frequency_warp": 0.0},
    "no noise": {"noise_share": 0.0},
    "no gain": {"gain_db": 0.0},
    "no masks": {"time_masks": 0, "frequency_masks": 0},
    "no augmentation": {
        "shift_ms": 0.0,
        "speed": 0.0,
        "frequency_warp": 0.0,
        "noise_share": 0.0,
        "gain_db": 0.0,
        "time_masks": 0,
        "frequency_masks": 0,
    },
    "mixup": {"mixup": 0.3},
    "constant learning rate": {"schedule": "constant", "warmup_epochs": 0, "patience": EPOCHS["epochs"]},
    "no weight averaging": {"weight_averaging": 0.0},
    "no label smoothing": {"label_smoothing": 0.0},
    "no weight decay": {"weight_decay": 0.0},
    "hop of 10 ms": {"hop_length": 160},
    "tc_resnet": {"model": "tc_resnet"},
    "ds_cnn": {"model": "ds_cnn"},
    "bc_resnet": {"model": "bc_resnet", "width": 1.0},
    "cnn": {"model": "cnn", "width": 1.0},
}
FIGURES = ("validation_accuracy", "validation_loss", "parameters", "cpu_seconds")
COLUMNS = ("change", "seed", *FIGURES)


def main() -> None:
    """Trains them all, or with one change, or one seed."""
    options = parser(__doc__)
    options.add_argument("--change", choices=list(CHANGES), help="this one alone")
    options.add_argument("--seed", type=int, choices=SEEDS, help="this one alone")
    asked = options.parse_args()
    unchanged = {**preset("fast"), **ten(asked.mirror), **EPOCHS}
    with downloaded(unchanged) as project:
        for seed in SEEDS if asked.seed is None else [asked.seed]:
            for change, values in CHANGES.items():
                if asked.change in (None, change):
                    metrics = run(project, {**unchanged, **values, "seed": seed}, evaluated=False)
                    row = {"change": change, "seed": seed} | {name: metrics["train"][name] for name in FIGURES}
                    add_row(TABLE, row, COLUMNS, ("change", "seed"))


if __name__ == "__main__":
    main()
