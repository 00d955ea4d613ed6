"""A checkout of the project in a folder of its own, with which tests do what users do: git, dvc and the stages."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from kws.core.params import Params, load_params
from kws.tracking.run import EXPERIMENT

ROOT = Path(__file__).parent.parent
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = [stage for stage in PIPELINE["stages"] if stage != "watch"]  # which runs each time
TRACKED = [
    *(".dvc/.gitignore", ".dvc/config", ".dvc/plots/noise.json", ".dvc/plots/projection.json", ".dvcignore"),
    *(".gitignore", "dvc.yaml", "src/kws", "stages", "versions.yaml"),
]
SMALL = {
    "words": ["no", "yes"],
    "synthetic_speakers": 40,  # 8 test clips
    "width": 0.25,
    "learning_rate": 0.003,
    "epochs": 8,
    "patience": 8,
    "stream_minutes": 1,
    "umap_neighbors": 5,
    "tsne_perplexity": 2.0,
}
WAIT = 900  # seconds after which a command is taken to hang
ATTEMPTS = 3  # at a queue whose worker is lost to a fault of DVC
LATENCIES = {f"export/{kind}_latency_ms" for kind in ("float32", "int8", "features")}  # where export ran, not its cache


class Project:
    """A checkout of the project."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment

    @classmethod
    def create(cls, root: Path, environment: dict[str, str]) -> "Project":
        """A checkout with the code as it is and small parameters, committed."""
        project = cls(root, environment)
        for name in TRACKED:
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, target)
        project.set()
        project.run("git", "init", "--quiet")
        project.commit()
        return project

    def try_to(self, *command: str, **environment: str) -> tuple[int, str]:
        """Runs a command in a process group of its own; returns its exit code and all that it printed."""
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                printed, _ = process.communicate(timeout=WAIT)
            except subprocess.TimeoutExpired as hanging:
                os.killpg(process.pid, signal.SIGKILL)
                # What came so far: the workers of a queue live on, and would keep the pipe open
                hanging.add_note(f"until then it printed: {(hanging.output or b'').decode(errors='replace')}")
                raise
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

    def copy(self, target: Path) -> "Project":
        """A copy, without MLflow's store and without what DVC keeps for a while, which may change meanwhile."""
        tmp, without = self.root / ".dvc" / "tmp", ("mlflow.db", "mlartifacts", ".scratch")

        def left_out(folder: str, names: list[str]) -> list[str]:
            return [name for name in names if name in without or Path(folder, name) == tmp]

        shutil.copytree(self.root, target, ignore=left_out, symlinks=True)
        return Project(target, self.environment)

    def changed(self) -> list[str]:
        """What git sees that is not committed, one line a file."""
        return self.run("git", "--no-optional-locks", "status", "--porcelain", "--untracked-files=all").splitlines()

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


def run_queue(queued: Callable[[Path], Project], folder: Path) -> tuple[Project, str, str]:
    """Two workers run the experiments that `queued` has queued in a project, which it makes in the given folder.

    DVC's workers leave each other messages in files. Now and then one reads a file that is not written yet, and ends
    with a JSONDecodeError; `dvc exp run` then waits for its experiment for ever (treeverse/dvc, issue 10428). If a
    worker's log says so, the same begins anew in another project.

    Returns:
        The project, what the run printed, and the status of the queue.
    """
    attempt = 1
    while True:
        project = queued(folder / f"project{attempt}")
        try:
            printed = project.run("dvc", "exp", "run", "--run-all", "--jobs", "2")
            return project, printed, project.run("dvc", "queue", "status")
        except subprocess.TimeoutExpired as hanging:
            logs = "".join(log.read_text() for log in project.root.glob(".dvc/tmp/exps/celery/*.out"))
            hanging.add_note(f"the workers' logs: {logs}")
            if attempt == ATTEMPTS or "JSONDecodeError" not in logs:
                raise
            attempt += 1
            warnings.warn(f"DVC lost a worker of its queue; attempt {attempt} of {ATTEMPTS}", stacklevel=2)
        finally:
            project.run("dvc", "queue", "stop", "--kill")


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
    """The stages that DVC says it ran."""
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
    params = load_params(project.root / "params.yaml").model_dump()
    there = {name: ", ".join(value) if isinstance(value, tuple) else str(value) for name, value in params.items()}
    if run.data.params == there:  # its files are in the workspace
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
