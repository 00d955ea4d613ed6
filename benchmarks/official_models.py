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
ANSWERS_A_SECOND = 1 / (3 * 0.01)  # the models take three frames at a time, one each 10 ms
FOLDER = "pymicro_wakeword/models/"


def figures(wheel: Path) -> dict[str, dict[str, int]]:
    """By name of a model what it costs, and the arena that it needs on this machine."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(
            Path(name).stem for name in archive.namelist() if name.startswith(FOLDER) and name.endswith(".json")
        )
        models = {}
        for name in names:
            content = archive.read(f"{FOLDER}{name}.tflite")
            models[name] = cost(content, ANSWERS_A_SECOND) | {"arena_bytes": arena_bytes(content)}
        return models


if __name__ == "__main__":
    [wheel] = map(Path, sys.argv[1:])
    package, version, *_ = wheel.name.split("-")
    content = {"wheel": f"{package.replace('_', '-')} {version}", "answers_a_second": round(ANSWERS_A_SECOND, 1)}
    content["models"] = figures(wheel)
    JSON.write_text(json.dumps(content, indent=2) + "\n")
