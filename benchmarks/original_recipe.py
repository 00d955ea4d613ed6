"""The original recipe on real speech, three seeds each: the figures of the README's table.

    python benchmarks/original_recipe.py                        # from the publishers' addresses: 2.6 GB, a few hours
    python benchmarks/original_recipe.py --mirror file:///data  # from archives in a folder, or on a mirror

Runs the pipeline's own stages in a scratch folder and writes benchmarks/original_recipe.csv, a row after each training.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from kws.files import read_json, write_csv
from kws.params import load_params
from kws.sources import PUBLISHED

ROOT = Path(__file__).parent.parent
TABLE = Path(__file__).with_suffix(".csv")
SEEDS = (1, 2, 3)
EIGHT = ("down", "go", "left", "no", "right", "stop", "up", "yes")
SELECTIONS = {
    "original ten": {"dataset": "speech_commands", "split": "random", "words": sorted((*EIGHT, "off", "on"))},
    "eight": {"dataset": "mini_speech_commands", "split": "random", "words": list(EIGHT)},
    "ten": {"dataset": "speech_commands", "split": "speaker", "words": sorted((*EIGHT, "bed", "cat"))},
}
FIGURES = ("test_clips", "accuracy", "accuracy_low", "accuracy_high", "accuracy_speakers_low", "accuracy_speakers_high")
COLUMNS = ("selection", "split", "seed", "train_clips", "epochs", *FIGURES)


def main() -> None:
    """Trains them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", help="address of the folder that holds the archives, https:// or file://")
    mirror = parser.parse_args().mirror
    rows: list[dict[str, object]] = []
    for selection, choice in SELECTIONS.items():
        for seed in SEEDS:
            url = f"{mirror}/{PUBLISHED[choice['dataset']].name}" if mirror else ""
            metrics = _run({**choice, "seed": seed, "dataset_url": url})
            row = {"selection": selection, "split": choice["split"], "seed": seed}
            row |= {"train_clips": metrics["featurize"]["train"], "epochs": metrics["train"]["epochs"]}
            rows.append(row | {name: metrics["evaluate"][name] for name in FIGURES})
            write_csv(TABLE, rows, COLUMNS)


def _run(changes: dict[str, object]) -> dict[str, dict[str, float]]:
    """The figures of one experiment, by stage."""
    params = load_params(ROOT / "params.yaml").model_dump() | changes
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "data").mkdir()
        (project / "params.yaml").write_text(yaml.safe_dump(params | {"words": list(params["words"])}))
        environment = os.environ | {"DVC_ROOT": str(ROOT), "KWS_TRACKING": "off", "PYTHONPATH": str(ROOT / "src")}
        for stage in ("download", "featurize", "train", "evaluate"):
            command = [sys.executable, ROOT / "stages" / f"{stage}.py"]
            subprocess.run(command, cwd=project, env=environment, check=True)  # noqa: S603 (our own scripts)
        return {path.stem: read_json(path) for path in (project / "metrics").iterdir()}


if __name__ == "__main__":
    main()
