"""Experiments as users run them: one after another, from a queue with two workers, with mistakes, on their own data."""

import json
import sys
from pathlib import Path

import pytest
from checkout import STAGES, Project, assert_complete, ran, run_queue

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),  # MLflow, of itself
]


@pytest.fixture(scope="module")
def queue(finished, tmp_path_factory) -> tuple[Project, list[str], str, str]:
    """A project without a store in which two workers ran three queued experiments.

    What git saw as changed after that; what the runs printed; how they ended.
    """

    def queued(root: Path) -> Project:
        project = finished.copy(root)
        # 5 is as in the commit; these two are at work on the store at the same time, as soon as they start
        project.run("dvc", "exp", "run", "--queue", "-S", "umap_neighbors=3,5")
        project.run("dvc", "exp", "run", "--queue", "--name", "coarse", "-S", "mel_bins=40")
        return project

    project, printed, status = run_queue(queued, tmp_path_factory.mktemp("queue"))
    return project, project.changed(), printed, status


def test_two_workers_on_a_store_that_does_not_exist_yet_leave_a_complete_run_for_each_queued_experiment(queue):
    project, changed, _, status = queue
    assert [status.count(state) for state in ("Success", "Failed", "Queued", "Running")] == [3, 0, 0, 0], status
    runs = project.runs()
    varied = sorted((run.data.params["mel_bins"], run.data.params["umap_neighbors"]) for run in runs)
    assert varied == [("40", "5"), ("80", "3"), ("80", "5")]
    for run in runs:
        assert_complete(run, project)
    assert {path.name for path in (project.root / "mlartifacts").iterdir()} == {
        "models",
        *(run.info.run_id for run in runs),
    }
    assert not list((project.root / ".dvc" / "tmp").rglob("mlflow.db"))
    assert changed == []  # the workspace is as it was


def test_an_experiment_runs_what_its_parameter_changes_and_can_be_compared(queue, tmp_path):
    project = queue[0].copy(tmp_path / "project")
    log = queue[0].run("dvc", "queue", "logs", "coarse")
    assert ran(log) == STAGES[1:]
    project.run(sys.executable, "-m", "kws.commands.plots_page", PYTHONPATH="src")
    project.run("dvc", "exp", "apply", "coarse")
    assert json.loads((project.root / "data/features/spec.json").read_text())["mel_bins"] == 40
    shown = project.run("dvc", "exp", "show", "--csv").splitlines()
    mel_bins = shown[0].split(",").index("mel_bins")
    found = [line.split(",")[mel_bins] for line in shown[1:]]
    assert found[:2] == ["40", "80"]  # workspace, HEAD
    assert sorted(found[2:]) == ["40", "80", "80"]  # the experiments
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
        (
            "dvc exp run -S +mel_bin=3",
            {},
            "error: params.yaml: mel_bin: no such parameter; the parameters are dataset,",
        ),
        ("dvc repro", {"mel_bin": 3}, "error: params.yaml: mel_bin: no such parameter; the parameters are dataset,"),
        ("dvc repro", {"mel_bins": "many"}, "error: params.yaml: mel_bins: 'many' is refused: Input should be"),
    ],
)
def test_a_mistyped_parameter_is_one_clear_line(project, command, changes, message):
    project.set(**changes)
    code, printed = project.try_to(*command.split())
    assert code != 0
    assert sum(message in line for line in printed.splitlines()) == 1
    assert "Traceback" not in printed
