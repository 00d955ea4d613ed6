"""`make clean-runs`: what goes, and above all what stays."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import Project, run_queue
from conftest import ROOT
from dvc_objects.fs.utils import tmp_fname

from kws.commands import clean_runs

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
]
TRAIN = "; ".join(  # DVC gives each line a shell of its own
    [
        *("x=$(sed -n 's/x: //p' params.yaml)", "mkdir -p models", "echo network $x > models/kws.keras"),
        *("cp params.yaml models/other.txt", "echo '{\"epochs\": '$x'}' > metrics/train.json", "test $x != 9"),
    ]
)
PIPELINE = {
    "stages": {
        "data": {
            "cmd": "mkdir -p data/raw && echo sound > data/raw/sound && echo 1 > data/raw/1",
            "outs": ["data/raw"],
        },
        "train": {
            "cmd": TRAIN,
            "deps": ["data/raw"],
            "params": ["x"],
            "outs": ["models/kws.keras", "models/other.txt"],
            "metrics": [{"metrics/train.json": {"cache": False}}],
        },
    }
}


class Repository:
    """A project in which experiments differ by `x`: the network of each is a text with it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str, **environment: str) -> str:
        given = os.environ | {"PYTHONPATH": str(ROOT / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"} | environment
        done = subprocess.run(
            command, cwd=self.root, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def write(self, x: int) -> None:
        (self.root / "params.yaml").write_text(f"x: {x}\n")

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "a commit")

    def experiments(self) -> set[str]:
        return set(self.run("dvc", "exp", "ls", "--all-commits", "--name-only").split())

    def cached(self) -> set[str]:
        """The networks in DVC's cache, by their `x`."""
        files = [path for path in (self.root / ".dvc" / "cache" / "files").rglob("*") if path.is_file()]
        texts = [path.read_text() for path in files]
        return {text.split()[1] for text in texts if text.startswith("network")}

    def clean(self, *, yes: bool = False, **environment: str) -> list[str]:
        command = [sys.executable, "-m", "kws.commands.clean_runs"]
        return self.run(*command, YES="1" if yes else "", **environment).splitlines()


def sha256(x: int) -> str:
    return hashlib.sha256(f"network {x}\n".encode()).hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Branch main with x=1, origin/pushed with 2, tag kept with 3, and experiments of each kind."""
    root = tmp_path_factory.mktemp("made") / "project"
    (root / "metrics").mkdir(parents=True)
    repository = Repository(root)
    repository.run("git", "init", "-q", "-b", "main")
    repository.run("git", "config", "user.email", "a@b.c")
    repository.run("git", "config", "user.name", "a")
    repository.run("dvc", "init", "-q")
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    (root / ".gitignore").write_text("/mlflow.db\n/mlartifacts\n/.mlflow.lock\n")
    for x in (3, 2, 1):
        repository.write(x)
        repository.run("dvc", "repro", "-q")
        repository.commit()
        if x == 3:
            repository.run("git", "tag", "-a", "kept", "-m", "x is 3")
        if x == 2:
            repository.run("git", "update-ref", "refs/remotes/origin/pushed", "HEAD")
    repository.run("git", "checkout", "-q", "--orphan", "page")  # a branch without DVC
    repository.run("git", "rm", "-rq", "--cached", ".")
    repository.run("git", "commit", "-q", "--allow-empty", "-m", "page")
    repository.run("git", "checkout", "-qf", "main")
    for x in (4, 5, 6):
        repository.run("dvc", "exp", "run", "-q", "-S", f"x={x}", "--name", f"exp{x}")
    repository.run("git", "checkout", "-q", ".")
    repository.run("dvc", "checkout", "-q")
    repository.run("dvc", "exp", "rename", "-q", "exp5", "renamed")
    return root


@pytest.fixture
def repository(made, tmp_path) -> Repository:
    shutil.copytree(made, tmp_path / "project", symlinks=True)
    return Repository(tmp_path / "project")


@pytest.fixture
def runs(repository, empty_store, monkeypatch) -> dict[int, str]:
    """IDs of MLflow's runs by their x; 4 has lost the registry to 5, 6 still runs, 7 failed, 8 is in the trash."""
    import mlflow

    root = repository.root
    shutil.copy(empty_store, root / "mlflow.db")
    store = f"sqlite:///{root}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # MLflow looks there for the model of a version
    client = mlflow.MlflowClient(store)
    place = client.create_experiment("kws", (root / "mlartifacts").as_uri())
    found = {}
    client.create_registered_model("kws")
    for x in range(1, 9):
        run = client.create_run(place, tags={"dvc.exp": f"exp{x}"})
        identity = found[x] = run.info.run_id
        if x != 7:
            client.log_metric(identity, "train/epochs", x)
        client.log_metric(identity, "download/clips", 10)
        artifacts = root / "mlartifacts" / identity / "artifacts"
        artifacts.mkdir(parents=True)
        (artifacts / "picture.png").write_bytes(b"p" * 1000)
        if x in (1, 4, 5):
            model = client.create_logged_model(place, name="model", source_run_id=identity)
            folder = root / "mlartifacts" / "models" / model.model_id / "artifacts"
            folder.mkdir(parents=True)
            (folder / "MLmodel").write_bytes(b"m" * 2000)
            source = f"models:/{model.model_id}"
            client.create_model_version("kws", source, identity, tags={"kws.model": sha256(x)}, model_id=model.model_id)
        if x != 6:
            client.set_terminated(identity, "FAILED" if x == 7 else "FINISHED")
    client.set_registered_model_alias("kws", "champion", "3")
    client.delete_run(found[8])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return found


def left(repository: Repository) -> tuple[set[str], Any]:
    """The runs that are left, deleted ones among them, and the client."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{repository.root}/mlflow.db")
    experiment = client.get_experiment_by_name("kws").experiment_id
    return {run.info.run_id for run in client.search_runs([experiment], run_view_type=3)}, client


def test_what_nothing_needs_is_shown_first_and_then_removed(repository, runs):
    root = repository.root
    repository.run("dvc", "exp", "run", "-q", "--queue", "-S", "x=10", "--name", "waiting")
    before = {path: path.stat().st_mtime_ns for path in (root / ".dvc" / "cache").rglob("*") if path.is_file()}
    shown = repository.clean()
    assert shown[0] in (
        "DVC's experiments: 2 (exp4, exp6); 1 of a champion stay",
        "DVC's experiments: 2 (exp6, exp4); 1 of a champion stay",
    )
    assert shown[1] == "DVC's queue: 0 that have ended; 1 that wait or run stay"
    assert shown[2].startswith("DVC's cache: 6 of 21 files")  # two files and the figures of both experiments
    # Runs 4 and 7 go, and 8 does, which is in the trash; each has a picture, and 4 a model.
    assert shown[3] == "MLflow: 2 of 7 runs, 1 registered versions, 1 that were deleted before; 5.0 kB"
    assert shown[4].endswith(" the workspace, version 3 (champion).")
    assert shown[5] == "Nothing was removed: make clean-runs YES=1 does it."
    assert {path: path.stat().st_mtime_ns for path in (root / ".dvc" / "cache").rglob("*") if path.is_file()} == before
    assert repository.experiments() == {"exp4", "renamed", "exp6"}
    assert left(repository)[0] == set(runs.values())

    removed = repository.clean(yes=True)
    assert removed[:5] == shown[:5]
    assert removed[5] == "All of this was removed."
    assert repository.experiments() == {"renamed"}
    assert repository.cached() == {"1", "2", "3", "5"}
    identities, client = left(repository)
    assert identities == {runs[x] for x in (1, 2, 3, 5, 6)}
    assert {path.parent.parent.name for path in (root / "mlartifacts").rglob("picture.png")} == identities
    assert {version.version for version in client.search_model_versions()} == {1, 3}
    assert client.get_model_version_by_alias("kws", "champion").version == 3
    assert len(list((root / "mlartifacts" / "models").rglob("MLmodel"))) == 2
    assert client.get_registered_model("kws").tags["kws.removed_networks"] == "1"
    assert "waiting" in repository.run("dvc", "queue", "status")
    for revision in ("main", "origin/pushed", "kept"):
        repository.run("git", "checkout", "-q", revision)
        repository.run("dvc", "checkout", "-q")
        assert (root / "data" / "raw" / "sound").read_text() == "sound\n"
    repository.run("git", "checkout", "-q", "main")
    repository.run("dvc", "checkout", "-q")
    repository.run("dvc", "exp", "apply", "-q", "renamed")
    assert (root / "models" / "kws.keras").read_text() == "network 5\n"
    repository.run("git", "checkout", "-q", ".")
    again = repository.clean(yes=True)
    assert again[0].startswith("DVC's experiments: 0; 1 of")
    assert "DVC's cache: 0 of " in again[2]
    assert "MLflow: 0 of 5 runs, 0 registered versions, 0 that were deleted before; 0.0 kB" in again


def test_what_a_killed_dvc_left_in_its_cache_goes(repository):
    files = [path for path in (repository.root / ".dvc" / "cache").rglob("*") if path.is_file()]
    [kept] = [path for path in files if path.read_bytes() == b"network 1\n"]
    half = kept.with_name(tmp_fname())
    half.write_bytes(b"netw")
    repository.clean()
    assert half.exists()
    repository.clean(yes=True)
    assert not half.exists()
    assert kept.exists()


def test_tasks_of_the_queue_that_have_ended_go_with_their_experiments(made, environment, tmp_path):
    def queued(root: Path) -> Project:
        shutil.copytree(made, root, symlinks=True)
        project = Project(root, environment)
        for x in (7, 9):  # 9 fails
            project.run("dvc", "exp", "run", "--queue", "-S", f"x={x}", "--name", f"exp{x}")
        return project

    project, _, status = run_queue(queued, tmp_path)
    assert (status.count("Success"), status.count("Failed")) == (1, 1)
    repository = Repository(project.root)
    assert "7" in repository.cached()
    shown = repository.clean()
    assert shown[1] == "DVC's queue: 2 that have ended; 0 that wait or run stay"
    assert shown[3] == "MLflow: nothing, there is no store"
    repository.clean(yes=True)
    assert repository.clean()[1] == "DVC's queue: 0 that have ended; 0 that wait or run stay"
    assert repository.experiments() == set()
    assert repository.cached() == {"1", "2", "3"}


def test_nothing_is_removed_while_something_runs(repository):
    (repository.root / "stages").mkdir()
    (repository.root / "stages" / "train.py").write_text("print('ready', flush=True)\ninput()\n")
    stage = subprocess.Popen(
        [sys.executable, "stages/train.py"], cwd=repository.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with stage:
        stage.stdout.readline()
        assert clean_runs.find_running(repository.root) == [f"train.py (process {stage.pid})"]
        assert clean_runs.find_running(repository.root / "stages") == []
        with pytest.raises(
            AssertionError,
            match=r"error: train\.py \(process \d+\) works here: nothing is removed before it has ended",
        ):
            repository.clean(yes=True)
        stage.communicate(b"\n")
    assert repository.experiments() == {"exp4", "renamed", "exp6"}


def test_a_sweep_works_also_between_two_trials_and_its_database_is_not_told(tmp_path):
    script = tmp_path / "kws" / "commands" / "sweep.py"
    script.parent.mkdir(parents=True)
    for folder in (script.parent, script.parent.parent):
        (folder / "__init__.py").write_text("")
    script.write_text("print('ready', flush=True)\ninput()\n")
    command = [sys.executable, "-m", "kws.commands.sweep", "tiny.yaml", "9", "", "postgresql://ann:secret@db/kws"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sweep:
        sweep.stdout.readline()
        assert clean_runs.find_running(tmp_path) == [f"kws.commands.sweep (process {sweep.pid})"]
        sweep.communicate(b"\n")


def test_what_others_may_use_is_left_alone(repository, runs, tmp_path):
    (repository.root / ".dvc" / "cache").rename(tmp_path / "shared")
    repository.run("dvc", "cache", "dir", str(tmp_path / "shared"))
    shutil.copy(repository.root / "mlflow.db", tmp_path / "server.db")
    files = {path for path in (tmp_path / "shared").rglob("*") if path.is_file()}
    removed = repository.clean(yes=True, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/server.db")
    assert f"DVC's cache: nothing, since others may use {tmp_path}/shared/files/md5; dvc gc" in removed[2]
    assert removed[3] == f"MLflow: nothing, since other people may use sqlite:///{tmp_path}/server.db"
    assert {path for path in (tmp_path / "shared").rglob("*") if path.is_file()} == files
    assert left(repository)[0] == set(runs.values())
    assert repository.experiments() == {"renamed"}  # the champion of the server is known all the same


def test_every_stash_is_kept(repository):
    for x in (7, 8):
        repository.write(x)
        repository.run("dvc", "repro", "-q")
        repository.run("git", "stash", "-q")
    repository.run("dvc", "checkout", "-q")
    repository.clean(yes=True)
    assert repository.cached() == {"1", "2", "3", "7", "8"}
    repository.run("git", "stash", "pop", "-q", "stash@{1}")
    repository.run("dvc", "checkout", "-q")
    assert (repository.root / "models" / "kws.keras").read_text() == "network 7\n"


@pytest.mark.usefixtures("runs")
def test_the_network_of_a_champion_stays_also_of_an_old_commit(repository):
    repository.run("dvc", "exp", "remove", "exp4")
    for x in (4, 10):
        repository.write(x)
        repository.run("dvc", "repro", "-q")
        repository.commit()
    left(repository)[1].set_registered_model_alias("kws", "candidate", "2")  # the network of x=4
    told = repository.clean(yes=True)[4]
    assert "version 2 (candidate)" in told
    assert "version 3 (champion)" in told
    assert repository.cached() == {"10", "2", "3", "4", "5"}  # 1 was in the branch, too, and has no alias


@pytest.mark.parametrize("cache", ["shared", "own", "for a group"])
def test_other_worktrees_keep_their_experiments_and_the_cache_that_they_use(repository, tmp_path, cache):
    if cache == "for a group":
        repository.run("dvc", "config", "--local", "cache.shared", "group")
    else:
        repository.run("git", "worktree", "add", "-q", "--detach", str(tmp_path / "an other"), "kept")
    if cache == "shared":
        command = ["dvc", "cache", "dir", "--local", str(repository.root / ".dvc" / "cache")]
        subprocess.run(command, cwd=tmp_path / "an other", check=True, capture_output=True)
    before = repository.cached()
    removed = repository.clean(yes=True)
    if cache == "for a group":
        assert removed[0].endswith("; 0 of a champion stay")
        assert repository.experiments() == set()
    else:
        assert removed[0] == f"DVC's experiments: 0; 3 stay, since the checkout in {tmp_path}/an other shares them"
        assert repository.experiments() == {"exp4", "renamed", "exp6"}
    assert removed[2].startswith("DVC's cache: 0 of " if cache == "own" else "DVC's cache: nothing, since others may")
    assert repository.cached() == before


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"YES": "yes"}, "error: YES=yes: give YES=1, or leave it out"),
        (
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
            "error: http://127.0.0.1:9: MLflow does not tell which model is the champion: http://127.0.0.1:9 does not",
        ),
    ],
)
def test_bad_input_is_a_line_and_removes_nothing(repository, environment, message):
    with pytest.raises(AssertionError, match=f"^{message}"):
        repository.run(sys.executable, "-m", "kws.commands.clean_runs", **({"YES": "1"} | environment))
    assert repository.experiments() == {"exp4", "renamed", "exp6"}


def test_a_champion_in_the_trash_is_told_and_not_removed(repository, runs):
    _, client = left(repository)
    client.delete_run(runs[5])
    with pytest.raises(AssertionError, match=r"error: the run of kws version 3 \(champion\) is deleted in MLflow"):
        repository.clean(yes=True)
    assert left(repository)[0] == set(runs.values())
    assert repository.experiments() == {"exp4", "renamed", "exp6"}


def test_a_store_is_shown_without_its_password():
    from kws.tracking.clean import without_password

    assert without_password("postgresql://ann:secret@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    assert without_password("postgresql://ann:sec/ret@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    assert without_password("sqlite:////home/ann@work/mlflow.db") == "sqlite:////home/ann@work/mlflow.db"
