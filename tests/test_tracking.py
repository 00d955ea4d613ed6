"""One complete MLflow run an experiment, whatever happens."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, SOURCE

from kws.core import paths
from kws.core.files import sha256_of, write_json
from kws.core.params import Params
from kws.evaluate.answers import Answers, write_answers
from kws.tracking import run as tracking
from kws.tracking import serve, store
from kws.tracking.run import EXPERIMENT, tracked_run

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),  # MLflow, of itself
]
CURVES = [
    {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.2, "validation_loss": 2.1, "validation_accuracy": 0.1},
    {"epoch": 2, "train_loss": 1.0, "train_accuracy": 0.6, "validation_loss": 1.1, "validation_accuracy": 0.5},
]
FIGURES = {
    "download": {"clips": 12},
    "featurize": {"clips": 11},
    "train": {"epochs": 2, "validation_loss": 1.1},
    "evaluate": {"accuracy": 0.5, "f1_don't": 0.25},
    "export": {"int8_bytes": 5},
    "project": {"clips": 4, "umap_trustworthiness": 0.9},
}
VOICES = replace(SOURCE, synthetic=True, test_synthetic=True)
# What the registry says of the champion's choice and its test
CHOSEN = "the first network; test accuracy 100.0%, 95 % interval 33.3% to 100.0%"
ANSWERS = Answers(
    names=np.array(["a.wav", "b.wav"]),
    speakers=np.array(["al", "bo"]),
    labels=np.array([0, 1]),
    probabilities=np.eye(2, dtype=np.float32),
    embeddings=np.zeros((2, 3), np.float32),
)
PICTURES = ["plots/evaluate", "plots/features", "plots/project", "plots/train"]


class Project:
    """A project in which the stages write what FIGURES and CURVES say."""

    def __init__(self, root: Path, params: Params, networks: list[Path], spotter: Path) -> None:
        self.root, self.params, self.networks, self.spotter = root, params, networks, spotter

    def write(self, stage: str, network: int = 0) -> None:
        if stage == "download":
            write_json(paths.SOURCE, VOICES.to_json())
        elif stage != "export":
            folder = paths.PLOTS / ("features" if stage == "featurize" else stage)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "picture.png").write_text(stage)
        if stage == "featurize":
            paths.MANIFEST.parent.mkdir(parents=True, exist_ok=True)
            paths.MANIFEST.write_text("name,word,samples\na.wav,yes,16000\nb.wav,no,\n")
        if stage == "train":
            paths.MODEL.parent.mkdir(exist_ok=True)
            shutil.copy(self.networks[network], paths.MODEL)
            with (folder / "history.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(CURVES[0]))
                writer.writeheader()
                writer.writerows(CURVES)
        if stage == "evaluate":
            for answers in (paths.ANSWERS, paths.VALIDATION):
                write_answers(answers, ANSWERS, ["yes", "no"], synthetic=True)
            paths.CURVES.parent.mkdir(parents=True, exist_ok=True)
            paths.CURVES.write_text("curves")
            write_json(paths.METRICS / "devices.json", {})
        if stage == "export":
            paths.EXPORT.mkdir(exist_ok=True)
            shutil.copy(self.spotter, paths.SPOTTER)
        write_json(paths.METRICS / f"{stage}.json", FIGURES[stage])

    def prepare(self) -> None:
        for stage in ("download", "featurize"):
            self.write(stage)

    def train(self, network: int = 0, *, new: bool = True, params: Params | None = None) -> None:
        with tracked_run(params or self.params, "train") as run:
            run.start_training(new=new)
            for row in CURVES:
                run.log_epoch(row)
            self.write("train", network)

    def stop_training(self, error: type[BaseException], epochs: int = 1) -> None:
        with tracked_run(self.params, "train") as run:
            run.start_training(new=True)
            for row in CURVES[:epochs]:
                run.log_epoch(row)
            raise error

    def evaluate(self) -> None:
        with tracked_run(self.params, "evaluate"):
            self.write("evaluate")

    def export(self, latency: float) -> None:
        with tracked_run(self.params, "export") as run:
            self.write("export")
            run.log_figures({"export/int8_latency_ms": latency})

    def project(self) -> None:
        self.write("export")
        with tracked_run(self.params, "project") as run:
            self.write("project")
            run.register("# Card")

    def runs(self) -> list[Any]:
        """All runs in the store, the oldest first."""
        import mlflow

        experiment = mlflow.get_experiment_by_name(EXPERIMENT)
        return mlflow.search_runs(
            [experiment.experiment_id], order_by=["attributes.start_time ASC"], output_format="list"
        )


class InProcess:
    """Carries out the orders of a stage at once and here, where a process of its own would take seconds for each."""

    def __init__(self, _: str) -> None:
        from kws.tracking.recorder import Recorder

        self._recorder = Recorder()

    def send(self, order: str, **details: Any) -> None:
        self._recorder.carry_out(order, json.loads(json.dumps(details)))

    def answer(self) -> dict[str, Any]:
        return self._recorder.answer()


@pytest.fixture
def fresh(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_params: Callable[..., Params],
    networks: list[Path],
    small_spotter: Path,
) -> Project:
    """A project without a store, data ready for training."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "KWS_TRACKING"):
        monkeypatch.setenv(name, "")  # so that it is taken back, whoever sets it
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path, make_params(words=["yes", "no"]), networks, small_spotter)
    project.prepare()
    return project


@pytest.fixture
def project(fresh: Project, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a store that is empty yet."""
    monkeypatch.setattr(tracking, "Worker", InProcess)
    shutil.copy(empty_store, fresh.root / "mlflow.db")
    return fresh


def assert_complete(run: Any) -> None:
    """The run holds all that the stages wrote, and each thing once."""
    import mlflow

    client = mlflow.MlflowClient()
    assert run.info.status == "FINISHED"
    assert run.data.params["words"] == "yes, no"
    assert run.data.params["mel_bins"] == "80"
    assert run.data.tags["kws.data"].startswith("synthetic voices")
    figures = {f"{stage}/{name}": value for stage in FIGURES for name, value in FIGURES[stage].items()}
    figures = {name.removeprefix("evaluate/").replace("'", ":"): value for name, value in figures.items()}
    assert {name: value for name, value in run.data.metrics.items() if name not in CURVES[0]} == figures
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        points = client.get_metric_history(run.info.run_id, name)
        assert [(point.step, point.value) for point in points] == [(row["epoch"], row[name]) for row in CURVES]
    assert [item.path for item in client.list_artifacts(run.info.run_id, "plots")] == PICTURES
    [data_set] = run.inputs.dataset_inputs
    assert (data_set.dataset.name, data_set.dataset.digest) == ("synthetic", sha256_of(paths.MANIFEST)[:16])
    assert len(run.outputs.model_outputs) == 1


def test_the_stages_of_an_experiment_share_one_complete_run(project: Project) -> None:
    project.train()
    project.evaluate()
    project.project()
    [run] = project.runs()
    assert_complete(run)
    assert run.info.artifact_uri.startswith((project.root / "mlartifacts").as_uri())


def test_an_experiment_restored_from_the_cache_is_filled_in_from_its_files(project: Project) -> None:
    project.write("train")
    project.write("evaluate")
    project.project()
    [run] = project.runs()
    assert_complete(run)


def test_a_stage_that_runs_again_doubles_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.train()
    project.evaluate()
    project.project()
    project.evaluate()
    project.project()
    [run] = project.runs()
    assert_complete(run)
    said = f"registered as kws version 1, the champion: there was none; {CHOSEN}"
    assert capsys.readouterr().out == f"{said}\n{said}\n"
    assert run.data.tags["kws.registered"] == said
    import mlflow

    assert len(mlflow.MlflowClient().search_model_versions()) == 1
    assert len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "accuracy")) == 1


def test_a_changed_export_is_registered_anew_in_the_run(
    project: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    project.train()
    project.evaluate()
    project.project()
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(project.spotter.read_bytes().replace(b'"threshold": 0.5', b'"threshold": 0.7'))
    project.spotter = changed
    project.project()
    project.project()
    [run] = project.runs()
    assert len(run.outputs.model_outputs) == 2
    text = f"registered as kws version 2, the champion: it is the network of version 1, exported anew; {CHOSEN}"
    assert run.data.tags["kws.registered"] == text
    assert capsys.readouterr().out.splitlines()[1:] == [text, text]


def test_two_workers_with_the_same_parameters_register_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kws.tracking import registry

    versions = []

    def register(card: str) -> str:
        time.sleep(1)
        versions.append(card)
        return f"version {len(versions)}"

    monkeypatch.setattr(registry, "register", register)
    monkeypatch.setattr(registry, "is_registered", lambda _: bool(versions))
    project.train()
    project.evaluate()
    for stage in ("export", "project"):
        project.write(stage)

    def work() -> None:
        with tracked_run(project.params, "project") as run:
            run.register("# Card")

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert versions == ["# Card"]
    assert capsys.readouterr().out == "version 1\nversion 1\n"


def test_curves_are_logged_while_training_goes_on(project: Project) -> None:
    with tracked_run(project.params, "train") as run:
        run.start_training(new=True)
        run.log_epoch(CURVES[0])
        [seen] = project.runs()
        assert seen.info.status == "RUNNING"
        assert seen.data.metrics["validation_loss"] == CURVES[0]["validation_loss"]
        project.write("train")


def test_a_run_says_of_which_dvc_experiment_it_is(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "loud-cat")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc123")
    project.train()
    [run] = project.runs()
    assert run.info.run_name == "loud-cat"
    assert (run.data.tags["dvc.exp"], run.data.tags["dvc.baseline"]) == ("loud-cat", "abc123")


def test_other_parameters_or_other_data_are_another_experiment(
    project: Project, make_params: Callable[..., Params]
) -> None:
    project.train()
    project.train(params=make_params(words=["yes", "no"], seed=2))
    write_json(paths.SOURCE, replace(VOICES, address="http://example.org/other.zip", synthetic=False).to_json())
    project.train()
    runs = project.runs()
    assert len({run.data.tags["kws.key"] for run in runs}) == len(runs) == 3
    assert "kws.data" not in runs[2].data.tags


def test_a_training_that_gives_another_model_is_another_run_and_later_stages_go_with_their_model(
    project: Project,
) -> None:
    project.train(network=0)
    project.train(network=1)
    project.evaluate()
    first, second = project.runs()
    assert "accuracy" not in first.data.metrics
    assert "accuracy" in second.data.metrics
    project.write("train", network=0)
    project.evaluate()
    assert "accuracy" in project.runs()[0].data.metrics


def test_a_training_that_gives_the_same_model_again_adds_no_run(project: Project) -> None:
    project.train()
    project.evaluate()
    project.project()
    project.train()
    [run] = project.runs()
    assert_complete(run)


def test_a_changed_evaluation_is_another_run_and_the_old_one_keeps_its_figures(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.train()
    project.evaluate()
    project.project()
    monkeypatch.setitem(FIGURES, "evaluate", {"accuracy": 0.75, "f1_don't": 0.25})
    project.evaluate()
    project.project()
    first, second = project.runs()
    assert_complete(second)
    assert "kws.differs_from" not in first.data.tags
    assert second.data.tags["kws.differs_from"] == first.info.run_id
    assert second.data.params == first.data.params

    monkeypatch.setitem(FIGURES, "evaluate", {"accuracy": 0.5, "f1_don't": 0.25})
    project.evaluate()  # as before
    project.project()
    assert_complete(project.runs()[0])
    assert len(project.runs()) == 2


def test_words_that_differ_by_a_sign_have_figures_of_their_own(tmp_path, monkeypatch) -> None:
    from mlflow.utils.validation import _validate_metric_name

    from kws.tracking.recorder import _figures

    monkeypatch.chdir(tmp_path)
    (tmp_path / "metrics").mkdir()
    write_json(
        paths.METRICS / "evaluate.json", {"recall_\u0915\u093f": 0.1, "recall_\u0915\u0940": 0.2, "f1_don't": 0.3}
    )
    write_json(paths.METRICS / "devices.json", {"don't": {"missed": 0.4}})
    figures = _figures("evaluate")
    assert figures == {
        "recall_\u0915:93f": 0.1,
        "recall_\u0915:940": 0.2,
        "f1_don:t": 0.3,
        "device don:t missed": 0.4,
    }
    for name in figures:
        _validate_metric_name(name)


def test_texts_among_the_figures_of_a_stage_are_no_figures(tmp_path, monkeypatch) -> None:
    from kws.tracking.recorder import _figures, _told

    monkeypatch.chdir(tmp_path)
    write_json(paths.METRICS / "train.json", {"epochs": 1, "pretrained": "0123456789abcdef"})
    assert _figures("train") == {"train/epochs": 1}
    assert _told("train")["pretrained"] == "0123456789abcdef"


def test_a_changed_export_with_other_figures_is_another_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.train()
    project.evaluate()
    project.export(latency=3.0)
    monkeypatch.setitem(FIGURES, "export", {"int8_bytes": 6})
    project.export(latency=4.0)
    project.project()
    first, second = project.runs()
    assert (first.data.metrics["export/int8_bytes"], first.data.metrics["export/int8_latency_ms"]) == (5, 3)
    assert (second.data.metrics["export/int8_bytes"], second.data.metrics["export/int8_latency_ms"]) == (6, 4)
    assert second.data.metrics["accuracy"] == first.data.metrics["accuracy"]


def test_a_run_says_how_far_its_experiment_went(project: Project) -> None:
    project.train()
    [run] = project.runs()
    assert run.data.tags["kws.last_stage"] == "train"
    project.evaluate()  # as `make curve` ends
    [run] = project.runs()
    assert (run.info.status, run.data.tags["kws.last_stage"]) == ("FINISHED", "evaluate")
    project.project()
    project.evaluate()
    [run] = project.runs()
    assert run.data.tags["kws.last_stage"] == "project"


def test_files_of_later_stages_are_not_logged_since_they_belong_to_an_older_experiment(project: Project) -> None:
    project.write("evaluate")
    project.write("project")
    project.train()
    [run] = project.runs()
    assert {name.partition("/")[0] for name in run.data.metrics if "/" in name} == {"download", "featurize", "train"}


def test_an_error_of_the_training_passes_and_leaves_a_failed_run_that_a_resumed_training_finishes(
    project: Project,
) -> None:
    with pytest.raises(ZeroDivisionError):
        project.stop_training(ZeroDivisionError)
    assert [run.info.status for run in project.runs()] == ["FAILED"]
    with tracked_run(project.params, "train") as run:
        run.start_training(new=False)
        run.log_epoch(CURVES[1])
        project.write("train")
    project.evaluate()
    project.project()
    [run] = project.runs()
    assert_complete(run)


def test_a_training_that_starts_afresh_leaves_the_curves_of_a_killed_one_alone(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt):
        project.stop_training(KeyboardInterrupt, epochs=0)
    assert [run.info.status for run in project.runs()] == ["KILLED"]
    with pytest.raises(KeyboardInterrupt):
        project.stop_training(KeyboardInterrupt)
    assert [run.info.status for run in project.runs()] == ["KILLED"]  # without a curve: used again
    project.train()
    assert [run.info.status for run in project.runs()] == ["KILLED", "FINISHED"]


def test_a_dead_server_costs_one_warning(
    fresh: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    fresh.train()
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: train goes on without MLflow: ")
    assert "127.0.0.1:9" in line
    assert not (fresh.root / "mlflow.db").exists()


def test_a_store_that_dies_during_training_costs_one_warning_and_a_later_stage_makes_good(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    def die(*_: Any, **__: Any) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "log_metrics", die)
        project.train()
    assert capsys.readouterr().err.count("warning") == 1
    assert [run.info.status for run in project.runs()] == ["FAILED"]
    project.evaluate()
    project.project()
    assert_complete(project.runs()[-1])


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A store that takes no figures while something is in this list."""
    import mlflow

    reasons: list[str] = []
    log_metrics = mlflow.log_metrics

    def log(*figures: Any, **details: Any) -> None:
        if reasons:
            raise OSError(reasons[0])
        log_metrics(*figures, **details)

    monkeypatch.setattr(mlflow, "log_metrics", log)
    return reasons


@pytest.mark.parametrize("pause", [0.0, 1000.0])
def test_epochs_that_a_store_did_not_take_are_logged_once_it_does(
    project: Project,
    away: list[str],
    pause: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from kws.tracking import recorder

    monkeypatch.setattr(recorder, "PAUSE", pause)
    with tracked_run(project.params, "train") as run:
        run.start_training(new=True)
        away.append("it is away")
        run.log_epoch(CURVES[0])
        away.clear()
        run.log_epoch(CURVES[1])
        [seen] = project.runs()
        assert ("train_loss" in seen.data.metrics) == (pause == 0)  # at the next epoch, or at the end of the stage
        project.write("train")
    assert capsys.readouterr().err.splitlines() == [
        f"warning: train goes on without MLflow: it is away{tracking.LATER}",
        "MLflow answers again: what was missing of train is logged",
    ]
    project.evaluate()
    project.project()
    [run] = project.runs()
    assert_complete(run)


def test_a_store_that_stays_away_is_tried_twice_a_stage_and_warned_of_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    tried = []

    def log(*figures: Any, **_: Any) -> None:
        tried.append(figures)
        raise OSError("it is away")

    monkeypatch.setattr(mlflow, "log_metrics", log)
    project.train()
    assert len(tried) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_curves_of_a_failed_stage_are_logged_when_the_store_is_back(project: Project, away: list[str]) -> None:
    def train() -> None:
        with tracked_run(project.params, "train") as run:
            run.start_training(new=True)
            away.append("it is away")
            run.log_epoch(CURVES[0])
            away.clear()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    [killed] = project.runs()
    assert (killed.info.status, killed.data.metrics["train_loss"]) == ("KILLED", CURVES[0]["train_loss"])


def test_a_run_whose_end_the_store_was_never_told_is_taken_up_by_the_next_stage(stored: Project) -> None:
    database = str(stored.root / "mlflow.db")
    logged = f"""
def logged():
    import sqlite3
    return sqlite3.connect({database!r}).execute("SELECT * FROM metrics WHERE key = 'train_loss'").fetchone()
"""
    dying = """while not logged():
        time.sleep(0.1)
    run._worker._process.kill()"""
    start_training(stored.params, before=logged, after=dying).communicate()
    assert [run.info.status for run in stored.runs()] == ["RUNNING"]
    stored.write("train")
    stored.evaluate()
    stored.project()
    [run] = stored.runs()
    assert_complete(run)


def test_runs_that_began_without_an_answer_are_taken_up_or_removed(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    start, client = mlflow.start_run, mlflow.MlflowClient()

    def start_late(**details: Any) -> Any:
        for _ in range(2):  # the request was sent twice
            client.create_run(details["experiment_id"], tags=details["tags"])
        monkeypatch.setattr(mlflow, "start_run", start)
        raise OSError("no answer came in time")

    monkeypatch.setattr(mlflow, "start_run", start_late)
    project.train()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: train goes on without MLflow: no answer came in time; ")
    project.evaluate()
    project.project()
    [run] = project.runs()
    assert_complete(run)


def test_somebody_else_may_create_the_experiment_just_now(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db").create_experiment(EXPERIMENT)
    find, asked = mlflow.get_experiment_by_name, []

    def find_later(name: str) -> Any:
        asked.append(name)
        return find(name) if len(asked) > 1 else None

    monkeypatch.setattr(mlflow, "get_experiment_by_name", find_later)
    project.train()
    assert len(asked) == 2
    [run] = project.runs()
    assert run.data.tags["kws.last_stage"] == "train"


def test_stages_whose_files_the_store_does_not_take_leave_one_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    def full(*_: Any) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "log_artifacts", full)
        patch.setattr(mlflow, "log_artifact", full)
        project.train()
        project.evaluate()
        project.project()
    assert [run.info.status for run in project.runs()] == ["FAILED"]
    project.project()
    [run] = project.runs()
    assert_complete(run)


def test_a_copy_is_not_taken_for_a_run_that_was_left_half(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

    def deny(_: str) -> None:
        raise mlflow.exceptions.MlflowException("no", PERMISSION_DENIED)

    project.train()
    monkeypatch.setattr(mlflow, "delete_run", deny)
    project.train()
    first, copy = project.runs()
    assert copy.data.tags["kws.same_as"] == first.info.run_id
    mlflow.MlflowClient().set_tag(first.info.run_id, "kws.model", "another network")
    project.evaluate()
    assert "accuracy" not in project.runs()[1].data.metrics
    assert len(project.runs()) == 3


def test_a_run_with_other_curves_is_left_alone(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt):
        project.stop_training(KeyboardInterrupt)
    project.write("train")
    history = paths.HISTORY.read_text()
    paths.HISTORY.write_text(history.replace("2.0", "2.5"))
    project.evaluate()
    assert [run.info.status for run in project.runs()] == ["KILLED", "FINISHED"]


def test_a_store_that_is_too_slow_costs_a_stage_no_more_than_its_patience(
    stored: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "LONGEST_WAIT", 0)
    stored.train()
    reason = f"it was not done 0 s after the end of the stage{tracking.LATER}"
    assert capfd.readouterr().err == f"warning: train goes on without MLflow: {reason}\n"


def start_training(params: Params, before: str = "", after: str = "sys.exit()", **environment: str) -> Any:
    """A training in a process of its own: `before` it, an epoch, then `after`. It prints whether it imported MLflow."""
    program = f"""
import signal, subprocess, sys, time
from kws.core.params import Params
from kws.tracking.run import tracked_run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background of a shell ignores it
{before}
with tracked_run(Params.model_validate_json(sys.argv[1]), "train") as run:
    run.start_training(new=True)
    run.log_epoch({CURVES[0]})
    print("mlflow" in sys.modules, flush=True)
    {after}
"""
    return subprocess.Popen(
        [sys.executable, "-c", program, params.model_dump_json()],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_tracking_turned_off_starts_no_process_and_imports_no_mlflow(fresh: Project) -> None:
    training = start_training(fresh.params, before="subprocess.Popen = None", KWS_TRACKING="off")
    assert training.communicate() == ("False\n", "")
    assert not (fresh.root / "mlflow.db").exists()


@pytest.fixture
def stored(fresh: Project, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with an empty store, whose stages have processes of their own for MLflow."""
    shutil.copy(empty_store, fresh.root / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{fresh.root}/mlflow.db")
    return fresh


def test_an_experiment_whose_store_could_not_be_reached_is_recorded_by_the_next_dvc_repro(stored: Project) -> None:
    tracked = {"data/tracked.json": {"cache": False}}
    watch = {"outs": [{"data/own.json": {"cache": False}}], "always_changed": True}
    stages = {
        "watch": {"cmd": f"{sys.executable} {ROOT / 'stages' / 'watch.py'}"} | watch,
        "export": {"cmd": "touch exported", "outs": ["exported"]},
        "project": {"cmd": f"{sys.executable} project.py", "deps": ["exported"], "outs": [tracked]},
    }
    (stored.root / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    (stored.root / "params.yaml").write_text(stored.params.model_dump_json())
    (stored.root / "project.py").write_text(f"""
from kws.core.params import Params
from kws.tracking.run import tracked_run
with tracked_run(Params.model_validate_json({stored.params.model_dump_json()!r}), "project") as run:
    run.register("# Card")
run.write_tracked()
""")
    for stage in ("train", "evaluate", "export", "project"):
        stored.write(stage)

    def dvc(*command: str, **environment: str) -> str:
        words = [sys.executable, "-m", "dvc", *command]
        done = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    dvc("init", "--no-scm")
    printed = dvc("repro", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert printed.count("warning: project goes on without MLflow: ") == 1
    assert "registered as kws version 1, the champion: there was none" in dvc("repro")
    [run] = stored.runs()
    assert_complete(run)
    assert json.loads(paths.TRACKED.read_text()) == {"experiment": run.data.tags["kws.key"]}
    assert "Running stage 'project'" not in dvc("repro")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_killed_leaves_a_run_with_its_curves_that_says_so_and_no_process(
    stored: Project, sign: signal.Signals
) -> None:
    training = start_training(stored.params, after="time.sleep(300)")
    assert training.stdout.readline() == "False\n"
    os.killpg(training.pid, sign)  # as Ctrl-C does it; the worker is not among them
    printed, errors = training.communicate()  # until the worker, too, has closed its end of stderr
    assert training.returncode == -sign
    assert printed == ""
    assert (errors == "") == (sign != signal.SIGINT)
    assert "warning" not in errors
    [killed] = stored.runs()
    assert killed.info.status == "KILLED"
    assert killed.data.metrics["train_loss"] == CURVES[0]["train_loss"]


def test_a_worker_that_dies_costs_one_warning_and_not_the_training(stored: Project) -> None:
    end = "run._worker._process.kill(); run._worker._process.wait(); run.log_epoch({'epoch': 2}); raise ValueError"
    printed, errors = start_training(stored.params, after=end).communicate()
    assert printed == "False\n"
    warning, *rest = errors.splitlines()
    reason = f"its process ended with exit code -9{tracking.LATER}"
    assert warning == f"warning: train goes on without MLflow: {reason}"
    assert rest[-1] == "ValueError"  # the training's own error passes


def test_a_store_that_was_half_made_when_mlflow_was_killed_is_made_anew(tmp_path, monkeypatch) -> None:
    import mlflow

    from kws.tracking import recorder

    def killed(address: str) -> None:
        Path(address.removeprefix("sqlite:///")).write_text("half of the tables")
        raise KeyboardInterrupt

    path = tmp_path / "mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "MlflowClient", killed)
        with pytest.raises(KeyboardInterrupt):
            recorder._create_database(path)
    assert not path.exists()
    (tmp_path / ".partial-mlflow.db").write_text("half of the tables")  # what kill -9 leaves
    recorder._create_database(path)
    assert [experiment.name for experiment in mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()] == [
        "Default"
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_two_workers_at_once_on_a_store_that_does_not_exist_yet_both_find_it_whole(
    fresh: Project, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [start_training(make_params(words=["yes", "no"], seed=seed)) for seed in (1, 2)]
    assert [worker.communicate() for worker in workers] == [("False\n", "")] * 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{fresh.root}/mlflow.db")
    runs = fresh.runs()
    assert sorted(run.data.params["seed"] for run in runs) == ["1", "2"]
    for run in runs:
        assert run.data.metrics.items() >= {"download/clips": 12, "featurize/clips": 11, "train_loss": 2.0}.items()


def move(project: Project, monkeypatch: pytest.MonkeyPatch, how: Callable[[Path, Path], Any]) -> Path:
    """Moves or copies the project beside itself, and goes on there; returns the place where it was."""
    from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

    _artifact_repos_cache.clear()  # each stage has a process of its own
    old, project.root = project.root, project.root / "moved" / "über there"
    project.root.mkdir(parents=True)
    for name in ("data", "metrics", "models", "plots", "mlflow.db", "mlartifacts"):
        how(old / name, project.root / name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    monkeypatch.chdir(project.root)
    return old


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def rows(root: Path) -> dict[tuple[str, str], list[str]]:
    """All texts in the tables of a store, by table and column."""
    found: dict[tuple[str, str], list[str]] = {}
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cursor = database.execute(f"SELECT * FROM {table}")
            for row in cursor.fetchall():
                for column, value in zip(cursor.description, row, strict=True):
                    found.setdefault((table, column[0]), []).append(str(value))
    return found


def test_the_artifacts_of_a_moved_project_are_found_and_added_to(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    project.train()
    project.evaluate()
    project.project()
    old = move(project, monkeypatch, lambda source, target: source.rename(target))
    project.evaluate()  # the first stage that runs there
    [run] = project.runs()
    assert_complete(run)
    assert run.info.artifact_uri == (project.root / "mlartifacts" / run.info.run_id / "artifacts").as_uri()
    assert not (old / "mlartifacts").exists()
    project.train(network=1)
    project.evaluate()
    project.project()
    assert "champion stays version 1: " in capsys.readouterr().out  # its answers were found and compared
    assert "cannot be had" not in capsys.readouterr().out
    model = mlflow.pyfunc.load_model("models:/kws@champion")
    assert model.predict(np.zeros((1, 400), np.float32))
    assert not (old / "mlartifacts").exists()
    assert [place for place, texts in rows(project.root).items() if any(f"{old}/mlart" in text for text in texts)] == []


def test_a_copied_project_writes_nothing_into_the_original(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.train()
    project.evaluate()
    project.project()
    original = move(project, monkeypatch, copy)
    before = {path: path.stat().st_mtime_ns for path in original.glob("ml*/**/*")}
    stored = (original / "mlflow.db").read_bytes()
    project.evaluate()
    project.train(network=1)
    project.evaluate()
    project.project()
    assert {path: path.stat().st_mtime_ns for path in original.glob("ml*/**/*")} == before
    assert (original / "mlflow.db").read_bytes() == stored
    for run in project.runs():
        assert_complete(run)
        assert (project.root / "mlartifacts" / run.info.run_id / "artifacts" / "plots").exists()
    assert len(project.runs()) == 2


def test_make_ui_has_the_store_of_a_moved_project_follow_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    project.train()
    move(project, monkeypatch, lambda source, target: source.rename(target))
    serve.point_store(paths.project_root())
    assert capsys.readouterr().out == (
        f"MLflow's store was made in another folder. Its artifacts are now those in {project.root}/mlartifacts\n"
    )
    serve.point_store(paths.project_root())
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/mlflow.db")
    [run] = project.runs()
    assert [item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)] == ["plots"]


def test_a_place_for_artifacts_that_the_user_chose_stays(project: Project) -> None:
    import mlflow

    chosen = (project.root / "elsewhere").as_uri()
    mlflow.MlflowClient(f"sqlite:///{project.root}/mlflow.db").create_experiment(EXPERIMENT, chosen)
    project.train()
    [run] = project.runs()
    assert run.info.artifact_uri.startswith(chosen)


def test_no_folder_of_this_machine_is_in_what_mlflow_shows(
    project: Project, make_params: Callable[..., Params], tmp_path: Path
) -> None:
    project.params = make_params(words=["yes", "no"], dataset=str(tmp_path / "ada" / "words"), split="random")
    project.train()
    project.evaluate()
    project.project()
    [run] = project.runs()
    assert run.data.params["dataset"] == "words"
    named = {place for place, texts in rows(project.root).items() if any(str(tmp_path) in text for text in texts)}
    assert named <= set(store.ADDRESSES)
    files = [path for path in (project.root / "mlartifacts").rglob("*") if path.is_file()]
    naming = [path for path in files if str(tmp_path).encode() in path.read_bytes()]
    assert {path.name for path in naming} == {"MLmodel"}  # in which MLflow itself notes where it put the model


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        ("/home/ada/kws", "kws"),
        ("https://ada:token@example.org/kws.git", "https://example.org/kws.git"),
        ("git@example.org:kws.git", "git@example.org:kws.git"),
    ],
)
def test_the_origin_of_the_checkout_is_shown_without_folders_and_tokens(
    project: Project, monkeypatch: pytest.MonkeyPatch, origin: str, shown: str
) -> None:
    import mlflow
    from mlflow.tracking.context.git_context import GitRunContext

    monkeypatch.setattr(GitRunContext, "in_context", lambda _: True)
    monkeypatch.setattr(GitRunContext, "tags", lambda _: {"mlflow.source.git.repoURL": origin})
    project.train()
    project.evaluate()
    project.project()
    [run] = project.runs()
    [output] = run.outputs.model_outputs
    model = mlflow.MlflowClient().get_logged_model(output.model_id)
    for tags, code in ((run.data.tags, "stages/train.py"), (model.tags, "stages/project.py")):
        assert (tags["mlflow.source.git.repoURL"], tags["mlflow.source.name"]) == (shown, code)
