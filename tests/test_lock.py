"""The lock files agree with pyproject.toml and with each other, and `make setup` installs exactly what they say."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("bootstrap", "pipeline", "dev")
MINORS = (11, 12, 13)

# Without PYTHONPATH, so that each distribution is found once.
TELL = """
import json
from importlib.metadata import distributions
from packaging.markers import default_environment
told = [[found.name, found.version, found.requires or []] for found in distributions()]
print(json.dumps({"markers": default_environment(), "distributions": told}))
"""


def locked(path: Path) -> list[Requirement]:
    return [Requirement(line.rstrip("\\ ")) for line in path.read_text().splitlines() if re.match(r"\w", line)]


def pins(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for requirement in locked(ROOT / "requirements" / f"{name}.txt"):
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier).removeprefix("=="))
    return found


def copy_project(folder: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs make as from a shell: nothing of the `make test` that runs this test."""
    of_make = {"GPU", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHON", "PYTHONPATH", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in of_make}
    return subprocess.run(
        ["make", *arguments], check=False, cwd=folder, env=environment, capture_output=True, text=True
    )


def installed(folder: Path) -> dict:
    command = [folder / ".venv" / "bin" / "python", "-I", "-c", TELL]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    versions = {canonicalize_name(name): version for name, version, _ in told["distributions"]}
    requires = {canonicalize_name(name): requires for name, _, requires in told["distributions"]}
    return {"markers": told["markers"], "versions": versions, "requires": requires}


def expected(folder: Path, markers: dict[str, str]) -> dict[str, str]:
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for name in LOCKS
        for requirement in locked(folder / "requirements" / f"{name}.txt")
        if requirement.marker is None or requirement.marker.evaluate(markers)
    }


def only_locked(found: dict) -> dict[str, str]:
    """What is installed, less the project itself and the pip that Python brings."""
    return {name: version for name, version in found["versions"].items() if name not in {"kws", "pip"}}


def unsatisfied(found: dict, asked: list[tuple[str, str]]) -> list[str]:
    """Requirements that are not met, of these pairs of a distribution and an extra, and of the extras that they ask."""
    missing = []
    seen = set()
    while asked:
        name, extra = asked.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in found["requires"][name]:
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate(found["markers"] | {"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            version = found["versions"].get(needed)
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                missing.append(f"{name}[{extra}] needs {line}, found {version}")
            else:
                asked += [(needed, each) for each in requirement.extras]
    return missing


def interpreter(minor: int) -> str | None:
    """A Python 3.`minor` on PATH or of pyenv that runs; pyenv's own commands on PATH may not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python3.{minor}"), *sorted(pyenv.glob(f"3.{minor}.*/bin/python3.{minor}"))]
    for path in candidates:
        if path and subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0:
            return str(path)
    return None


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Skips without a registry; KWS_NETWORK=1 says that there has to be one."""
    if os.environ.get("KWS_NETWORK") == "1":
        return
    folder = tmp_path_factory.mktemp("probe")
    options = ["--quiet", "--retries", "0", "--timeout", "10", "--no-cache-dir", "--no-deps", "--dest", folder]
    probe = [sys.executable, "-m", "pip", "download", *options, "iniconfig==2.3.1"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("no package registry is reached")


@pytest.fixture(scope="module", params=MINORS, ids=lambda minor: f"3.{minor}")
def environment(request, registry, tmp_path_factory):  # noqa: ARG001
    """A copy of the project, set up to run the tests with one interpreter and the pip that it brings."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"no Python 3.{request.param} on this machine")
    folder = copy_project(tmp_path_factory.mktemp(f"with {request.param}"))
    done = make(folder, f"PYTHON={python}", ".venv/ready-dev")
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def oldest():
    return next(filter(None, map(interpreter, MINORS)))


def test_exactly_the_lock_is_installed(environment):
    found = installed(environment)
    assert only_locked(found) == expected(environment, found["markers"])


def test_every_requirement_is_met_also_those_with_an_extra(environment):
    found = installed(environment)
    asked = [(name, "") for name in found["versions"]]
    assert unsatisfied(found, [*asked, ("kws", "pipeline")]) == []


@pytest.mark.usefixtures("registry")
def test_a_lock_that_is_not_the_newest_is_installed_exactly(oldest, tmp_path):
    folder = copy_project(tmp_path)
    done = make(folder, f"PYTHON={oldest}", ".venv/ready-pipeline")
    assert done.returncode == 0, done.stderr
    hashed = [".venv/bin/uv", "--no-config", "pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "-"]
    older = subprocess.run(hashed, cwd=folder, input="coverage==7.10.7", capture_output=True, text=True, check=True)
    lock = folder / "requirements" / "dev.txt"
    text, replaced = re.subn(r"(?m)^coverage==.*\n(    --hash=.*\n)+", older.stdout, lock.read_text())
    assert replaced == 1
    lock.write_text(text)
    done = make(folder, ".venv/ready-dev")
    assert done.returncode == 0, done.stderr
    found = installed(folder)
    assert found["versions"]["coverage"] == "7.10.7"
    assert only_locked(found) == expected(folder, found["markers"])
    shutil.rmtree(folder)


@pytest.mark.usefixtures("registry")
def test_pip_installs_the_lock_where_uv_has_no_wheel(oldest, tmp_path):
    folder = copy_project(tmp_path)
    few = ("antlr4-python3-runtime", "setuptools", "tqdm")  # the first has no wheel
    cut = {"bootstrap": ("setuptools",), "pipeline": few, "dev": ("iniconfig",)}
    for name, kept in cut.items():
        lock = folder / "requirements" / f"{name}.txt"
        blocks = re.findall(r"(?m)^\w.*\n(?: .*\n)*", lock.read_text())
        lock.write_text("".join(block for block in blocks if block.startswith(tuple(f"{each}==" for each in kept))))
    done = make(folder, f"PYTHON={oldest}", ".venv/ready-dev")
    assert done.returncode == 0, done.stderr
    folders = (folder / ".venv" / "lib").glob("python3.*/site-packages/*.dist-info")
    names = {canonicalize_name(path.name.split("-")[0]) for path in folders}
    assert names == {"kws", "pip", "iniconfig", *few}


@pytest.mark.usefixtures("registry")
def test_make_lock_keeps_what_is_locked(oldest, tmp_path):
    folder = copy_project(tmp_path)
    done = make(folder, f"PYTHON={oldest}", "lock")
    assert done.returncode == 0, done.stderr
    for before in sorted((ROOT / "requirements").glob("*.txt")):
        after = folder / "requirements" / before.name
        assert list(map(str, locked(after))) == list(map(str, locked(before)))


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["pipeline"]
GROUPS = PROJECT["dependency-groups"]


@pytest.mark.parametrize(
    ("name", "direct"),
    [
        ("bootstrap", GROUPS["bootstrap"]),
        ("pipeline", DIRECT),
        ("dev", GROUPS["dev"]),
        ("clients", GROUPS["clients"]),
        ("esphome", GROUPS["esphome"]),
        ("servers", GROUPS["servers"]),
        ("remotes", PROJECT["project"]["optional-dependencies"]["remotes"]),
        ("cluster", PROJECT["project"]["optional-dependencies"]["cluster"]),
        ("sweep", PROJECT["project"]["optional-dependencies"]["sweep"]),
        ("server", GROUPS["server"]),
        ("gpu", [*(line for line in DIRECT if not line.startswith("tensorflow-cpu")), *GROUPS["gpu"]]),
    ],
)
def test_each_direct_dependency_is_locked_at_a_version_that_pyproject_allows(name, direct):
    found = pins(name)
    for requirement in map(Requirement, direct):
        versions = found[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version, prereleases=True) for version in versions), requirement


@pytest.mark.parametrize("name", ["bootstrap", "dev", "gpu", "remotes", "cluster", "sweep", "server"])
def test_the_locks_give_a_package_one_version(name):
    pipeline = pins("pipeline")
    other = {each: versions for each, versions in pins(name).items() if not versions <= pipeline.get(each, versions)}
    assert other == {}


def test_cuda_takes_the_place_of_the_smaller_tensorflow():
    pipeline, gpu = pins("pipeline"), pins("gpu")
    assert "tensorflow-cpu" not in gpu
    assert gpu["tensorflow"] == pipeline["tensorflow"] == pipeline["tensorflow-cpu"]
    assert "nvidia-cudnn-cu12" in gpu
    assert "nvidia-cudnn-cu12" not in pipeline


@pytest.mark.parametrize(
    "name", [*LOCKS, "gpu", "clients", "esphome", "remotes", "cluster", "sweep", "servers", "server"]
)
def test_each_package_of_a_lock_is_hashed(name):
    blocks = re.findall(r"(?m)^\w.*\n(?: .*\n)*", (ROOT / "requirements" / f"{name}.txt").read_text())
    assert blocks
    assert all("    --hash=sha256:" in block for block in blocks)


@pytest.fixture
def finished(tmp_path):
    """A project whose .venv looks as if set-up had ended; `make --dry-run` tells what it would do about it."""
    folder = copy_project(tmp_path)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (folder / ".venv" / "ready-pipeline").touch()
    return folder


ANEW = "-m venv --clear .venv"


def planned(folder: Path, *arguments: str) -> str:
    done = make(folder, "--dry-run", *arguments, "setup")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_finished_environment_is_kept(finished):
    assert ANEW not in planned(finished)
    assert ANEW not in planned(finished, f"PYTHON={sys.executable}")


def test_an_environment_that_was_left_half_made_is_made_anew(finished):
    (finished / ".venv" / "ready-pipeline").unlink()
    assert ANEW in planned(finished)


def test_an_environment_whose_python_is_gone_is_made_anew(finished):
    python = finished / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    assert f"'python3' {ANEW}" in planned(finished)


def test_an_environment_of_a_project_that_was_renamed_or_copied_is_made_anew(finished):
    about = finished / ".venv" / "pyvenv.cfg"
    about.write_text(f"home = /usr/bin\ncommand = /usr/bin/python3 -m venv --clear {finished}/.venv\n")
    assert ANEW not in planned(finished)
    about.write_text(about.read_text().replace(f" {finished}/", f" {finished}-before/"))
    assert ANEW in planned(finished)


@pytest.mark.parametrize("target", ["repro", "exp", "compare", "curve"])
def test_in_a_zip_of_the_project_make_says_in_a_line_what_to_do(finished, target):
    done = make(finished, target)
    assert done.returncode
    first, *rest = done.stderr.splitlines()
    assert first.startswith("error: DVC needs a git checkout (fatal: not a git repository")
    assert first.endswith("git clone the project, or type: git init && git add . && git commit -m start")
    assert [line for line in rest if not line.startswith("make")] == []
    assert done.stdout == ""


def test_another_python_makes_the_environment_anew(finished):
    assert f"/python3.9' {ANEW}" in planned(finished, f"PYTHON={old_python(finished)}")


def test_gpu_makes_the_environment_anew_and_is_remembered(finished):
    assert "requirements/gpu.txt" in planned(finished, "GPU=1")
    (finished / ".venv" / "ready-pipeline").rename(finished / ".venv" / "ready-gpu")
    assert ANEW not in planned(finished)
    (finished / "requirements" / "gpu.txt").touch()
    assert "requirements/gpu.txt" in planned(finished)


def test_an_extra_is_added_to_the_environment_and_is_remembered(finished):
    lock = finished / "requirements" / "remotes.txt"
    lock.write_text("dvc-s3==3.3.0")
    added = f"-r {lock.relative_to(finished)}"
    assert added not in planned(finished)
    assert added in planned(finished, "WITH=remotes")
    assert ANEW not in planned(finished, "WITH=remotes")
    (finished / ".venv" / "with-remotes").touch()
    assert added not in planned(finished, "WITH=remotes")
    (finished / ".venv" / "ready-pipeline").unlink()
    plan = planned(finished)
    assert ANEW in plan
    assert added in plan


def old_python(folder: Path) -> Path:
    """A stand-in that says it were Python 3.9."""
    path = folder / "python3.9"
    as_old = "import sys; sys.version = '3.9.1 (old)'; sys.version_info = (3, 9, 1); exec(sys.argv[1])"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{as_old}" "$2"\n')
    path.chmod(0o755)
    return path


def test_another_version_of_python_is_refused_in_a_line(finished):
    done = make(finished, f"PYTHON={old_python(finished)}", "setup")
    assert done.returncode
    told = done.stderr.splitlines()
    assert told[0] == "error: Python 3.11 to 3.13 is needed, this is 3.9.1: make PYTHON=python3.12"
    assert [line for line in told[1:] if not line.startswith("make")] == []
    assert (finished / ".venv" / "ready-pipeline").exists()


def test_cuda_is_refused_elsewhere_in_a_line(finished):
    uname = finished / "uname"
    uname.write_text("#!/bin/sh\necho Darwin arm64\n")
    uname.chmod(0o755)
    done = make(finished, f"PATH={finished}:{os.environ['PATH']}", "GPU=1", "setup")
    assert done.returncode
    assert "error: GPU=1 needs Linux on x86-64" in done.stdout + done.stderr
    assert (finished / ".venv" / "ready-pipeline").exists()
