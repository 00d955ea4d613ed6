"""`pip install .` brings what the `kws` command needs, and nothing of what trains."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from importlib.metadata import requires

import pytest
from conftest import ROOT
from test_licences import licence_of_files

NEEDED = {"ai-edge-litert", "numpy", "soundfile", "soxr", "tqdm"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that pip builds of the project."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        source,
        source,
    ]
    subprocess.run(command, check=True)
    [path] = source.glob("kws-*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def of_wheel(wheel: zipfile.ZipFile, name: str) -> bytes:
    [found] = [member for member in wheel.namelist() if member.endswith(f".dist-info/{name}")]
    return wheel.read(found)


def test_the_wheel_needs_what_the_command_needs_and_no_tensorflow(wheel):
    told = message_from_bytes(of_wheel(wheel, "METADATA"))
    required = [line for line in told.get_all("Requires-Dist") if "extra ==" not in line]
    assert {re.match(r"[\w-]+", line)[0] for line in required} == NEEDED
    extras = {"cluster", "listen", "media", "micro", "neural", "pipeline", "record", "remotes", "sweep", "wyoming"}
    assert set(told.get_all("Provides-Extra")) == extras
    assert [line for line in told.get_all("Requires-Dist") if line.startswith("tensorflow") and "pipeline" in line]


def test_the_wheel_holds_the_package_and_the_command(wheel):
    assert b"kws = kws.spotting.cli:main" in of_wheel(wheel, "entry_points.txt")
    assert {
        "kws/spotting/cli.py",
        "kws/spotting/spotter.py",
        "kws/train/networks/cnn.py",
        "kws/kept/static/review.html",
        "kws/project/card.md.jinja",
        "kws/project/explorer.html",
        "kws/record/static/index.html",
        "kws/web/static/index.html",
        "kws/web/static/page.js",
    } <= set(wheel.namelist())
    assert not [name for name in wheel.namelist() if not name.startswith(("kws/", "kws-"))]


def test_the_wheel_holds_no_file_whose_licence_is_not_told(wheel):
    files = [name for name in wheel.namelist() if name.startswith("kws/") and not name.endswith(".py")]
    assert files
    assert {f"src/{name}" for name in files} <= set(licence_of_files())
    others = {name.partition("/")[2] for name in wheel.namelist() if not name.startswith("kws/")}
    assert others == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
    assert of_wheel(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert message_from_bytes(of_wheel(wheel, "METADATA"))["License-Expression"] == "Apache-2.0"


def test_the_command_imports_no_more_than_it_needs():
    program = """
import json, sys
from importlib.metadata import packages_distributions
import kws.spotting.cli
tops = {name.split(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
known = packages_distributions()
print(json.dumps(sorted({owner for top in tops for owner in known.get(top, [])})))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = {name.lower().replace("_", "-").replace(".", "-") for name in json.loads(done.stdout)}
    below = {re.match(r"[\w.-]+", line)[0].lower() for name in NEEDED for line in requires(name) or ()}
    # of cffi; of the virtual environment itself; ourselves; what measures these tests
    below |= {"pycparser", "setuptools", "kws", "coverage"}
    assert imported <= NEEDED | {name.replace("_", "-").replace(".", "-") for name in below}
    assert not imported & {"tensorflow", "tensorflow-cpu", "keras", "scipy", "pandas", "pydantic", "mlflow"}
