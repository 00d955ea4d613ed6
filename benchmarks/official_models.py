"""Counts what the official wake words of micro_wake_word cost, for the model card: the same count as of exported files.

    pip download --no-deps pymicro-wakeword==2.5.0
    python benchmarks/official_models.py pymicro_wakeword-2.5.0-*.whl

Writes src/kws/project/official_models.json. Each model is a pair of files in the wheel's folder `models`.
"""

import json
import sys
import zipfile
from pathlib import Path

from runs import ROOT

from kws.export.esphome import arena_bytes
from kws.export.operations import cost

JSON = ROOT / "src" / "kws" / "project" / "official_models.json"
STEP_FRAMES = 3  # that the models take at a time
FOLDER = "pymicro_wakeword/models/"


def figures(wheel: Path) -> dict[str, dict[str, int]]:
    """By name of a model what it costs, and the arena that it needs on this machine."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(
            Path(name).stem for name in archive.namelist() if name.startswith(FOLDER) and name.endswith(".json")
        )
        models = {}
        for name in names:
            manifest = json.loads(archive.read(f"{FOLDER}{name}.json"))["micro"]
            answers_a_second = 1000 / (STEP_FRAMES * manifest["feature_step_size"])  # a frame is so many milliseconds
            content = archive.read(f"{FOLDER}{name}.tflite")
            models[name] = cost(content, answers_a_second) | {"arena_bytes": arena_bytes(content)}
        return models


if __name__ == "__main__":
    [wheel] = map(Path, sys.argv[1:])
    package, version, *_ = wheel.name.split("-")
    content = {"wheel": f"{package.replace('_', '-')} {version}", "models": figures(wheel)}
    JSON.write_text(json.dumps(content, indent=2) + "\n")
