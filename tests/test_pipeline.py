"""The pipeline as its users run it: the real dvc, MLflow and git, in small projects of their own."""

import ast
import errno
import itertools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from kws.commands.versions import LIBRARIES
from kws.core.params import Params, load_params
from kws.records.write import RecordWriter
from kws.tracking.run import EXPERIMENT

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),  # MLflow, of itself
]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = list(PIPELINE["stages"])
KINDS = ("outs", "metrics", "plots")
READ_ELSEWHERE = {  # parameters that a stage does not read with these settings
    "download": {"dataset_sha256", "dataset_url"},
    "featurize": set(),
    "train": set(),
    "evaluate": set(),
    "export": set(),
}
UNSEEN = {"evaluate": {"threads"}, "export": {"threads"}}  # what a stage reads and no output depends on
WITH_TENSORFLOW = {"train", "export"}
TRACKED = [
    *(".dvc/.gitignore", ".dvc/config", ".dvc/plots/noise.json", ".dvc/plots/projection.json", ".dvcignore"),
    *(".gitignore", "data/local", "data/local_test", "data/none", "dvc.yaml", "src/kws", "stages", "versions.yaml"),
]
SMALL = {
    "words": ["no", "yes"],
    "synthetic_speakers": 40,  # 8 test clips
    "epochs": 12,
    "patience": 12,
    "stream_minutes": 1,
    "umap_neighbors": 5,
    "tsne_perplexity": 2.0,
}
LATENCIES = {f"export/{kind}_latency_ms" for kind in ("float32", "int8", "features")}  # where export ran, not its cache
UNDER_WAY = {  # what is there while a stage works, and not before or after
    "download": "data/.partial-raw/.partial-synthetic.tar",
    "featurize": "data/.partial-features/*.tfrecord",
    "train": ".scratch/training/*/[0-9]*/history.json",
    "evaluate": "plots/.partial-evaluate/*.csv",
    "export": "models/.partial-export/*",
    "project": "plots/.partial-project/*",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user who has set nothing; what dvc keeps outside of projects goes to a scratch folder."""
    theirs = ("COVERAGE_", "DVC_", "GIT_", "KWS_", "MAKE", "MLFLOW_", "PYTHONPATH")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    people = {f"GIT_{who}_{what}": "me@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    places = {"DVC_SITE_CACHE_DIR": str(tmp_path_factory.mktemp("dvc")), "GIT_CONFIG_GLOBAL": os.devnull}
    return ours | people | places | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


class Project:
    """A checkout of the project."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that it can be killed with all its processes
        )

    def try_to(self, *command: str, **environment: str) -> tuple[int, str]:
        """Runs a command and returns its exit code and all that it printed."""
        process = self.start(*command, **environment)
        printed, _ = process.communicate()
        return process.returncode, printed

    def run(self, *command: str, **environment: str) -> str:
        code, printed = self.try_to(*command, **environment)
        assert code == 0, printed
        return printed

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "all")

    def clone(self, target: Path) -> "Project":
        self.run("git", "clone", "--quiet", str(self.root), str(target))
        return Project(target, self.environment)

    def changed(self) -> list[str]:
        """What git sees that is not committed, one line a file."""
        return self.run("git", "status", "--porcelain", "--untracked-files=all").splitlines()

    def leftovers(self) -> list[Path]:
        """What unfinished work leaves, which is taken up or replaced when the stage runs again."""
        return [*self.root.rglob(".partial-*"), *self.root.glob(".scratch/training/*/*")]

    def lock(self) -> bytes:
        return (self.root / "dvc.lock").read_bytes()

    def set(self, **changes: Any) -> None:
        """Writes the defaults with these changes into params.yaml."""
        params = load_params(ROOT / "params.yaml").model_dump(mode="json")
        (self.root / "params.yaml").write_text(yaml.safe_dump(params | SMALL | changes))

    def runs(self) -> list[Any]:
        """All runs in the MLflow store."""
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{self.root}/mlflow.db")
        return list(client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, environment) -> Project:
    """A project after `dvc repro` and a commit. Tests leave it as it is."""
    project = Project(tmp_path_factory.mktemp("finished") / "project", environment)
    for name in TRACKED:
        target = project.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target, follow_symlinks=False)  # data/local is a link
    project.set()
    project.run("git", "init", "--quiet")
    project.commit()
    project.run("dvc", "repro", **recorded(project.root.parent))
    project.commit()
    return project


def recorded(folder: Path) -> dict[str, str]:
    """The environment in which `python` notes in `folder` what each stage reads."""
    program = folder / "bin" / "python"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("record_stage.py")}" "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "KWS_RECORDS": str(folder)}


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished project that a test may change; what git and DVC do not know is left out."""
    root = tmp_path / "project"
    without = shutil.ignore_patterns("mlflow.db", "mlartifacts", ".scratch")
    shutil.copytree(finished.root, root, ignore=without, symlinks=True)
    return Project(root, finished.environment)


def outputs(*, in_git: bool) -> set[str]:
    """The files and folders that the stages write, as dvc.yaml has them."""
    found = set()
    for stage in PIPELINE["stages"].values():
        for output in itertools.chain(*(stage.get(kind, []) for kind in ("outs", "metrics", "plots"))):
            path, settings = (output, {}) if isinstance(output, str) else next(iter(output.items()))
            if in_git == (settings.get("cache") is False and path != "data/tracked.json"):
                found.add(path)
    return found


def ran(printed: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in printed]


def assert_complete(run: Any, project: Project) -> None:
    """The run holds the parameters, curves, figures, pictures and the model, in the project's own store."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db")
    assert run.info.status == "FINISHED"
    assert set(run.data.params) == set(Params.model_fields)
    figures = {}
    for stage in STAGES:
        content = json.loads((project.root / "metrics" / f"{stage}.json").read_text())
        figures |= {name if stage == "evaluate" else f"{stage}/{name}": value for name, value in content.items()}
    curves = {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy"}
    assert set(run.data.metrics) - LATENCIES == set(figures) | curves
    params = load_params(project.root / "params.yaml")
    if run.data.params["mel_bins"] == str(params.mel_bins):  # its files are in the workspace
        assert {name: run.data.metrics[name] for name in figures} == figures
    for name in curves:
        points = client.get_metric_history(run.info.run_id, name)
        assert sorted(point.step for point in points) == list(range(1, SMALL["epochs"] + 1))
    folder = project.root / "mlartifacts" / run.info.run_id / "artifacts"
    assert run.info.artifact_uri == folder.as_uri()
    pictures = {path for path in outputs(in_git=False) | outputs(in_git=True) if path.startswith("plots/")}
    assert {path for path in pictures if not (folder / path).exists()} == set()
    [model] = run.outputs.model_outputs
    assert (project.root / "mlartifacts" / "models" / model.model_id / "artifacts" / "MLmodel").exists()


def test_one_command_makes_all_that_dvc_yaml_promises(finished):
    missing = [path for path in outputs(in_git=True) | outputs(in_git=False) if not (finished.root / path).exists()]
    assert missing == []
    [run] = finished.runs()
    assert_complete(run, finished)
    assert set(run.data.metrics) >= LATENCIES


def test_git_is_shown_the_small_results_and_nothing_else(finished):
    committed = finished.run("git", "diff", "--name-only", "HEAD~1", "HEAD").splitlines()
    assert set(committed) == outputs(in_git=True) | {"dvc.lock"}
    assert finished.changed() == []
    assert finished.leftovers() == []


def test_a_second_time_nothing_runs(finished):
    printed = finished.run("dvc", "repro")
    assert ran(printed) == []
    assert "Data and pipelines are up to date." in printed
    assert finished.run("dvc", "status").strip() == "Data and pipelines are up to date."


def test_a_forced_run_and_a_run_in_another_clone_give_the_same_bytes_and_no_second_run_in_mlflow(finished, tmp_path):
    before = finished.lock()
    clone = finished.clone(tmp_path / "a clone")
    (clone.root / "dvc.lock").unlink()
    at_once = [finished.start("dvc", "repro", "--force"), clone.start("dvc", "repro", KWS_TRACKING="off")]
    for process in at_once:
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
        assert ran(printed) == STAGES
    for there in (finished, clone):
        assert there.lock() == before
        assert there.changed() == []
    [run] = finished.runs()
    assert_complete(run, finished)


def test_a_stage_started_by_hand_writes_the_bytes_that_it_writes_for_dvc(project, finished, monkeypatch):
    monkeypatch.setenv("KWS_TRACKING", "off")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    monkeypatch.chdir(project.root)
    for stage, output in (("train", "models/kws.keras"), ("evaluate", "data/answers.npz")):
        Path(output).unlink()
        monkeypatch.setattr(sys, "argv", [f"{stage}.py"])
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="__main__")
        assert Path(output).read_bytes() == (finished.root / output).read_bytes()
    assert project.changed() == []
    assert project.leftovers() == []


def kill(project: Project, sign: str) -> None:
    """Starts `dvc repro` and kills it with all its processes as soon as a file called `sign` is there."""
    process = project.start("dvc", "repro")
    while not any(project.root.glob(sign)):
        assert process.poll() is None, f"it ended before {sign} was seen: {process.communicate()[0]}"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()  # until the last of them has closed its end
    assert process.returncode == -signal.SIGKILL
    assert any(project.root.glob(sign)), f"{sign} was gone already: the stage was not killed at work"


def test_a_pipeline_that_was_killed_in_each_stage_ends_as_an_undisturbed_one(finished, tmp_path):
    clone = finished.clone(tmp_path / "clone")
    (clone.root / "dvc.lock").unlink()
    for stage, sign in UNDER_WAY.items():
        kill(clone, sign)
        locked = yaml.safe_load(clone.lock())["stages"] if (clone.root / "dvc.lock").exists() else {}
        assert list(locked) == STAGES[: STAGES.index(stage)]
    assert ran(clone.run("dvc", "repro")) == ["project"]
    assert clone.lock() == finished.lock()
    assert clone.changed() == []
    assert clone.leftovers() == []
    [run] = clone.runs()
    assert_complete(run, clone)


def test_an_experiment_runs_what_its_parameter_changes_and_can_be_compared(project):
    project.run(sys.executable, "-m", "kws.commands.plots_page", PYTHONPATH="src")
    assert ran(project.run("dvc", "exp", "run", "-S", "mel_bins=40", KWS_TRACKING="off")) == STAGES[1:]
    assert json.loads((project.root / "data/features/spec.json").read_text())["mel_bins"] == 40
    shown = project.run("dvc", "exp", "show", "--csv").splitlines()
    mel_bins = shown[0].split(",").index("mel_bins")
    assert [line.split(",")[mel_bins] for line in shown[1:]] == ["40", "80", "40"]  # workspace, HEAD, experiment
    assert json.loads(project.run("dvc", "params", "diff", "--json")) == {
        "params.yaml": {"mel_bins": {"old": 80, "new": 40, "diff": -40}}
    }
    assert "metrics/train.json" in json.loads(project.run("dvc", "metrics", "diff", "--json"))
    project.run("dvc", "plots", "diff")
    page = (project.root / "dvc_plots" / "index.html").read_text()
    assert "workspace" in page
    assert "HEAD" in page


def test_an_experiment_that_changes_the_projection_runs_that_alone_and_has_a_complete_run(project):
    assert ran(project.run("dvc", "exp", "run", "-S", "umap_neighbors=3")) == ["project"]
    [run] = project.runs()
    assert run.data.params["umap_neighbors"] == "3"
    assert_complete(run, project)


@pytest.mark.parametrize(
    ("command", "changes", "message"),
    [
        ("dvc exp run -S mel_bin=3", {}, "Could not override 'mel_bin'"),
        ("dvc exp run -S +mel_bin=3", {}, "error: params.yaml: mel_bin: no such parameter; there are dataset,"),
        ("dvc repro", {"mel_bin": 3}, "error: params.yaml: mel_bin: no such parameter; there are dataset,"),
        ("dvc repro", {"mel_bins": "many"}, "error: params.yaml: mel_bins: 'many' is refused: Input should be"),
    ],
)
def test_a_mistyped_parameter_is_one_clear_line(project, command, changes, message):
    project.set(**changes)
    code, printed = project.try_to(*command.split())
    assert code != 0
    assert sum(message in line for line in printed.splitlines()) == 1
    assert "Traceback" not in printed


def test_a_change_in_a_folder_of_ones_own_is_noticed_and_the_folder_is_left_alone(project):
    recordings = project.root / "recordings"
    for word in SMALL["words"]:
        (recordings / word / "ada").mkdir(parents=True)
        (recordings / word / "ada" / "1.wav").write_bytes(b"of no matter to download")
    project.set(dataset="recordings")
    assert ran(project.run("dvc", "repro", "download")) == ["download"]
    assert ran(project.run("dvc", "repro", "download")) == []
    (recordings / "yes" / "ada" / "2.wav").write_bytes(b"one more")
    assert ran(project.run("dvc", "repro", "download")) == ["download"]
    assert (project.root / "data/raw/clips.txt").read_text().split() == [
        "no/ada/1.wav",
        "yes/ada/1.wav",
        "yes/ada/2.wav",
    ]
    assert len([path for path in recordings.rglob("*") if path.is_file()]) == 3
    project.set()
    project.run("dvc", "repro", "download")
    assert (project.root / "data/local").readlink() == Path("none")


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_one_experiment_after_another_leaves_a_data_set_of_ones_own_alone(project, kind):
    recordings = project.root / "recordings"
    for word in SMALL["words"]:
        (recordings / word / "ada").mkdir(parents=True)
        (recordings / word / "ada" / "1.wav").write_bytes(b"of no matter to download")
    own = recordings
    if kind == "archive":
        own = project.root / "recordings.tar"
        project.run("tar", "-cf", own.name, "recordings")
    before = sorted((path, path.read_bytes()) for path in project.root.glob("recordings*/**/*.wav"))
    before += [(own, own.read_bytes())] if kind == "archive" else []
    for seconds in (1.0, 0.9):
        project.try_to("dvc", "exp", "run", "download", "-S", f"dataset={own.name}", "-S", f"clip_seconds={seconds}")
        assert (project.root / "data/local").resolve() == own
    project.run("dvc", "exp", "run", "download", "-S", "dataset=synthetic", "-S", "clip_seconds=1.0")
    assert (project.root / "data/local").readlink() == Path("none")
    assert [(path, path.read_bytes()) for path, _ in before] == before


def test_two_workers_on_a_store_that_does_not_exist_yet_leave_a_complete_run_for_each_queued_experiment(project):
    project.run("dvc", "exp", "run", "--queue", "-S", "mel_bins=40,64,80")  # 80: as in the commit it starts from
    try:
        project.run("dvc", "queue", "start", "--jobs", "2")
        for _ in range(150):
            status = project.run("dvc", "queue", "status")
            if "0 active, 0 idle" in status and not any(state in status for state in ("Queued", "Running")):
                break
            time.sleep(3)
    finally:
        project.run("dvc", "queue", "stop", "--kill")
    assert [status.count(state) for state in ("Success", "Failed", "Queued", "Running")] == [3, 0, 0, 0], status
    runs = project.runs()
    assert sorted(run.data.params["mel_bins"] for run in runs) == ["40", "64", "80"]
    for run in runs:
        assert_complete(run, project)
    assert {path.name for path in (project.root / "mlartifacts").iterdir()} == {
        "models",
        *(run.info.run_id for run in runs),
    }
    assert not list((project.root / ".dvc" / "tmp").rglob("mlflow.db"))
    assert project.changed() == []  # the workspace is as it was


def mounting_is_allowed() -> bool:
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not mounting_is_allowed(), reason="no file system may be mounted here, not even in a namespace")
@pytest.mark.parametrize(
    ("stage", "folder", "output"),
    [
        ("featurize", "data", "data/features"),
        ("train", ".scratch", "models/kws.keras"),
        ("train", "models", "models/kws.keras"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_made(project, stage, folder, output):
    path = project.root / output
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    # a disk of 1 MB in place of the folder, with links to what was in it
    script = """
mkdir -p "$2"; mv "$2" kept; mkdir "$2"; mount -t tmpfs -o size=1m tmpfs "$2"
find "$PWD/kept" -mindepth 1 -maxdepth 1 -exec ln -s '{}' "$2" ';'
python "stages/$1.py"; echo "exit code $?"; find "$2" -type f ! -name "*.lock"
"""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", stage, folder]
    printed = project.run(*command, PYTHONPATH="src", KWS_TRACKING="off").splitlines()
    assert printed[-1] == "exit code 1", printed
    [line] = printed[:-1]
    assert line.startswith("error: the disk is full (")
    assert not path.exists()


@pytest.mark.parametrize(("stage", "output"), [("featurize", "data/features"), ("train", "models/kws.keras")])
def test_a_writer_that_finds_the_disk_full_is_one_line(project, monkeypatch, stage, output):
    import keras

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    monkeypatch.setattr(keras.Model, "save_weights", full)  # after the first epoch
    monkeypatch.setenv("KWS_TRACKING", "off")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    monkeypatch.setattr(sys, "argv", [f"{stage}.py"])
    monkeypatch.chdir(project.root)
    before = {path: path.stat().st_mtime_ns for path in Path(output).parent.rglob("*")}
    with pytest.raises(SystemExit, match=r"^error: the disk is full \("):
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="__main__")
    assert {path: path.stat().st_mtime_ns for path in Path(output).parent.rglob("*")} == before
    assert project.leftovers() == []


def test_an_export_that_answers_otherwise_than_the_network_is_refused_and_changes_nothing(project, monkeypatch):
    from kws.export import convert

    def off(power: Any, weights: Any) -> Any:
        return power @ weights * 1.5

    monkeypatch.setattr(convert, "_mel_power", off)
    monkeypatch.setenv("KWS_TRACKING", "off")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    monkeypatch.setattr(sys, "argv", ["export.py"])
    monkeypatch.chdir(project.root)
    with pytest.raises(SystemExit, match=r"^error: the export is refused: float32: .*probabilities differ by [^\n]*$"):
        runpy.run_path(str(ROOT / "stages" / "export.py"), run_name="__main__")
    assert project.changed() == []
    assert project.leftovers() == []
    assert "up to date" in project.run("dvc", "status", "export")


def test_the_exported_model_of_a_pipeline_answers_from_another_folder(finished, tmp_path):
    about = json.loads((finished.root / "metrics" / "export.json").read_text())
    assert about["float32_agreement"] == about["stream_agreement"] == 1
    assert about["float32_largest_difference"] <= 1e-4
    assert (
        about["float32_accuracy"] == json.loads((finished.root / "metrics" / "evaluate.json").read_text())["accuracy"]
    )
    project = Project(tmp_path, finished.environment)
    archive = str(finished.root / "data/raw/synthetic.tar")
    project.run("tar", "--extract", "--file", archive, "--wildcards", "yes/*")
    command = ["-m", "kws", "predict", "--json", "--model", str(finished.root / "models/export/kws_int8.tflite"), "yes"]
    answers = project.run(sys.executable, *command, PYTHONPATH=str(finished.root / "src")).splitlines()
    heard = [json.loads(answer)["answers"][0]["word"] for answer in answers]
    assert len(heard) == 40
    assert heard.count("yes") > 30


def is_below(path: str, folders: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def libraries_of(modules: Iterable[str], imported: Iterable[str]) -> set[str]:
    """The libraries that compute among those that modules of ours name in an import and that were imported."""
    named: set[str] = set()
    for module in modules:
        for node in ast.walk(ast.parse((ROOT / module).read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            named |= {name.partition(".")[0] for name in names}
    distributions = packages_distributions()
    found = {name for package in named & set(imported) for name in distributions.get(package, ())}
    return {name.lower().replace("_", "-").removesuffix("-cpu") for name in found} & set(LIBRARIES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_what_it_reads(finished, stage):
    from kws.tracking.registry import SHIPPED

    record = json.loads((finished.root.parent / f"{stage}.json").read_text())
    listed = PIPELINE["stages"][stage]
    deps = set(listed["deps"])
    params = {name for name in listed["params"] if isinstance(name, str)}
    if {"params.yaml": None} in listed["params"]:  # DVC's way to say: all of them
        params = set(Params.model_fields)
    assert set(record["params"]) - UNSEEN.get(stage, set()) <= params
    assert params - set(record["params"]) <= READ_ELSEWHERE.get(stage, params)

    code = {path for path in record["modules"] if not path.startswith("src/kws/tracking/")} - {"src/kws/__init__.py"}
    assert {path for path in code if not is_below(path, deps)} == set()
    shipped = {f"src/kws/{package}" for package in SHIPPED} if stage == "project" else set()
    assert shipped <= deps
    packages = {dep for dep in deps if dep.startswith("src/")} - shipped
    assert {package for package in packages if not any(is_below(path, {package}) for path in code)} == set()

    [versions] = [entry["versions.yaml"] for entry in listed["params"] if "versions.yaml" in entry]
    assert set(versions) == libraries_of([*code, f"stages/{stage}.py"], record["imports"])

    assert ("tensorflow" in record["imports"]) == (stage in WITH_TENSORFLOW)

    written = {out if isinstance(out, str) else next(iter(out)) for kind in KINDS for out in listed.get(kind, ())}
    data = {path for path in record["files"] if path.startswith(("data/", "metrics/", "models/", "plots/"))}
    assert {path for path in data if not is_below(path, deps | written) and ".partial-" not in path} == set()


def test_the_package_itself_holds_nothing_that_a_stage_could_depend_on():
    _, *statements = ast.parse((ROOT / "src" / "kws" / "__init__.py").read_text()).body
    assert [ast.unparse(statement) for statement in statements] == ["import kws.core"]


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_a_colour_a_line_of_tracking_and_a_comment_in_the_projection_train_nothing(project):
    colours = project.root / "src/kws/plots/figures.py"
    colours.write_text(colours.read_text().replace("petroff10", "tab10"))
    append(project.root / "src/kws/tracking/run.py", "\nUNUSED = 1\n")
    append(project.root / "src/kws/project/projection.py", "# a comment\n")
    features, model = (project.root / name for name in ("data/features/spec.json", "models/kws.keras"))
    before = features.read_bytes(), model.read_bytes(), (project.root / "plots/train/curves.png").read_bytes()
    assert ran(project.run("dvc", "repro", KWS_TRACKING="off")) == ["featurize", "evaluate", "project"]
    assert (features.read_bytes(), model.read_bytes()) == before[:2]
    assert (project.root / "plots/train/curves.png").read_bytes() != before[2]  # the curves have the new colour


def test_what_can_change_a_stage_runs_it_again_and_nothing_else_does(project):
    for path, stages in {
        "src/kws/train/networks/cnn.py": {"train", "export"},
        "src/kws/spotting/service.py": {"evaluate", "export", "project"},  # goes into the registry with the model
        "src/kws/export/c_header.py": {"export"},
        "src/kws/download/fetch.py": {"download"},
        "src/kws/commands/compare.py": set(),
        "src/kws/tracking/run.py": set(),
    }.items():
        before = (project.root / path).read_text()
        append(project.root / path, "\nUNUSED = 1\n")
        assert set(json.loads(project.run("dvc", "status", "--json"))) == stages, path
        (project.root / path).write_text(before)


def test_a_new_version_of_tensorflow_in_the_lock_runs_the_stages_again_that_compute_with_it(project):
    versions = project.root / "versions.yaml"
    locked = yaml.safe_load(versions.read_text())
    versions.write_text(yaml.safe_dump(locked | {"tensorflow": "99.0"}))
    assert set(json.loads(project.run("dvc", "status", "--json"))) == WITH_TENSORFLOW
    versions.write_text(yaml.safe_dump(locked | {"umap-learn": "99.0"}))
    assert set(json.loads(project.run("dvc", "status", "--json"))) == {"project"}
