"""Counts what the official wake words of micro_wake_word cost, for the model card: the same count as of exported files.

    pip install --no-deps --target wakewords pymicro-wakeword==2.5.0
    python benchmarks/official_models.py wakewords

Writes src/kws/project/official_models.json. The package holds a LiteRT file for each wake word.
"""

import json
import sys
from pathlib import Path
from typing import Any

from runs import ROOT

from kws.export.esphome import arena_bytes
from kws.export.operations import cost

JSON = ROOT / "src" / "kws" / "project" / "official_models.json"
ANSWERS_A_SECOND = 1 / (3 * 0.01)  # the models take three frames at a time, one each 10 ms


def official_models(packages: Path) -> dict[str, Any]:
    """What the models cost: by name as `kws.export.operations.cost` names it, and the arena that they need here.

    Args:
        packages: the folder in which pymicro-wakeword is installed.
    """
    [about] = packages.glob("pymicro_wakeword-*.dist-info")
    models = {path.stem: path.read_bytes() for path in sorted((packages / "pymicro_wakeword/models").glob("*.tflite"))}
    return {
        "wheel": about.stem.replace("_", "-").replace("wakeword-", "wakeword "),
        "answers_a_second": round(ANSWERS_A_SECOND, 1),
        "models": {
            name: cost(content, ANSWERS_A_SECOND) | {"arena_bytes": arena_bytes(content)}
            for name, content in models.items()
        },
    }


if __name__ == "__main__":
    [given] = sys.argv[1:]
    JSON.write_text(json.dumps(official_models(Path(given)), indent=2) + "\n")
