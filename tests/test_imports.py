"""What starts quickly stays so: nothing slow is imported before it is needed."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT
from test_dvc_yaml import modules_of

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


@pytest.mark.parametrize("stage", ["download", "featurize", "evaluate", "project"])
def test_these_stages_need_no_tensorflow(stage):
    script = ROOT / "stages" / f"{stage}.py"
    for path in {script, *modules_of(script)} - {ROOT / "src" / "kws" / "tracking.py"}:  # it can log the network
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"keras", "tensorflow"}, path
