"""What starts quickly stays so: nothing slow is imported before it is needed."""

import subprocess
import sys

import pytest
from conftest import ROOT

from kws.tracking.run import STAGES

SLOW = ("dvc", "keras", "mlflow", "numba", "pandas", "scipy.stats", "sklearn", "tensorflow", "umap")


@pytest.mark.parametrize(
    "start",
    [
        *(f"runpy.run_path('stages/{stage}.py')" for stage in STAGES),
        "import kws.commands.summary",
        "import kws.commands.exp",
    ],
)
def test_nothing_slow_is_imported_before_the_work_begins(start):
    code = f"import runpy, sys\n{start}\nprint([name for name in {SLOW} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
