"""Measures the original recipe on real speech, with three seeds each, for a table in the README.

    python benchmarks/original_recipe.py                        # from the publishers' addresses: 2.6 GB, a few hours
    python benchmarks/original_recipe.py --mirror file:///data  # from archives in a folder, or on a mirror

Runs the pipeline's own stages in a scratch folder and writes benchmarks/original_recipe.csv, a row after each training.
"""

from pathlib import Path

from runs import EIGHT, SEEDS, TEN, add_row, address, downloaded, parser, quiet_figures, run

TABLE = Path(__file__).with_suffix(".csv")
SELECTIONS = {
    "original ten": {"dataset": "speech_commands", "split": "random", "words": sorted((*EIGHT, "off", "on"))},
    "eight": {"dataset": "mini_speech_commands", "split": "random", "words": list(EIGHT)},
    "ten": {"dataset": "speech_commands", "split": "speaker", "words": list(TEN)},
}
FIGURES = ("test_clips", "accuracy", "accuracy_low", "accuracy_high")
COLUMNS = ("selection", "split", "seed", "train_clips", "epochs", *FIGURES)


def main() -> None:
    """Trains every selection of words with every seed."""
    asked = parser(__doc__).parse_args()
    for selection, choice in SELECTIONS.items():
        changes = {**choice, "dataset_url": address(asked.mirror, choice["dataset"])}
        with downloaded(changes) as project:
            for seed in SEEDS:
                metrics = run(project, {**changes, "seed": seed}, asked.networks, evaluated=False)
                row = {"selection": selection, "split": choice["split"], "seed": seed}
                row |= {"train_clips": metrics["featurize"]["train"], "epochs": metrics["train"]["epochs"]}
                add_row(TABLE, row | quiet_figures(project)[1], COLUMNS, ("selection", "seed"))


if __name__ == "__main__":
    main()
