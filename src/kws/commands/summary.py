"""The last lines of `make`: the result, the data, where to look, what to type next."""

import subprocess
import sys

from kws.core import paths
from kws.core.files import read_json
from kws.records.spec import FeatureSpec

INPUTS = ("dvc.yaml", "params.yaml", "src", "stages", "versions.yaml")
RESULTS = ("metrics", "models", "plots")


def summary() -> str:
    """A summary of the pipeline's figures."""
    scores, spec = read_json(paths.METRICS / "evaluate.json"), FeatureSpec.read(paths.SPEC)
    voices = ""
    if spec.test_synthetic:
        voices = "\nComputed voices: they test the pipeline, not how well people are understood"
    return f"""
Test accuracy {scores["accuracy"]:.1%}, 95 % interval {scores["accuracy_low"]:.1%} to {scores["accuracy_high"]:.1%},
{scores["test_clips"]} test clips of {spec.test_dataset}: {", ".join(spec.classes)}{voices}

Look at  {paths.PLOTS}/evaluate/confusion.png, {paths.PLOTS}/project/umap.gif; all runs and curves: make ui
Type     . .venv/bin/activate           once in a shell, then
         dvc exp run -S mel_bins=64     to change a parameter, and
         dvc metrics diff               to compare
"""


def other_machine() -> str:
    """A note if results differ from the committed ones, although code and parameters are the committed ones.

    Then another kind of machine computed the committed results. Empty in other cases, and outside a git checkout.
    """
    if _changed(INPUTS) or not (files := _changed(RESULTS)):
        return ""
    return f"""
Git shows {len(files)} changed files in {", ".join(RESULTS)}: another kind of machine computed the committed results,
and the last digits differ between processors. docs/tracking.md says what to do with them.
"""


def _changed(names: tuple[str, ...]) -> list[str]:
    """The tracked files under these names that differ from the last commit."""
    command = ["git", "diff", "--name-only", "HEAD", "--", *names]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()  # noqa: S603 (ours)


if __name__ == "__main__":
    sys.stdout.write(summary() + other_machine())
