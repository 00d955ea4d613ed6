"""The last lines of `make`: the result, on what data, where to look, what to type next."""

import sys

from kws.core import paths
from kws.core.files import read_json


def summary() -> str:
    """What the pipeline's files say, for a person to read."""
    scores, spec = read_json(paths.METRICS / "evaluate.json"), read_json(paths.SPEC)
    voices = (
        "\nSynthetic voices: good for trying the machinery, no measure of accuracy on people"
        if spec["test_synthetic"]
        else ""
    )
    return f"""
Test accuracy {scores["accuracy"]:.1%}, 95 % interval {scores["accuracy_low"]:.1%} to {scores["accuracy_high"]:.1%},
{scores["test_clips"]} test clips of {spec["test_dataset"]}: {", ".join(spec["classes"])}{voices}

Look at  {paths.PLOTS}/evaluate/confusion.png, {paths.PLOTS}/project/umap.gif; all runs and curves: make ui
Type     . .venv/bin/activate           once in a shell, then
         dvc exp run -S mel_bins=64     to change a parameter, and
         dvc metrics diff               to compare
"""


if __name__ == "__main__":
    sys.stdout.write(summary())
