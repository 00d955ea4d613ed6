"""Records an experiment in MLflow: one run for all stages, complete also if DVC took stages from its cache.

Only `kws.tracking.worker` and `kws.tracking.from_files` import this module, since importing MLflow takes seconds.
"""

import contextlib
import hashlib
import math
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # these must be set before the import
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # of an error it shows a page; one line is told here
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from kws.core import paths
from kws.core.address import public_address
from kws.core.errors import UserError
from kws.core.files import read_csv, read_json, sha256_of, written_whole
from kws.recordings.source import DataSource
from kws.tracking.refusal import QUICK, reason_of, status_of
from kws.tracking.run import EXPERIMENT, LATER, STAGES
from kws.tracking.store import ARTIFACTS, CODE, DATABASE, LOCK, ORIGIN, follow_project

JUDGES = ("evaluate", "export")  # the stages whose figures say how good a model is
KEY, MODEL = "kws.key", "kws.model"  # the tags by which a run is found again
PRETRAINED = "kws.pretrained"  # the tag with the digest of the network that training began with
REGISTERED = "kws.registered"  # the tag that says what became of the model
LAST_STAGE = "kws.last_stage"  # the tag that says how far the experiment went
DIFFERS_FROM = "kws.differs_from"  # the tag that names a run of the same model with other figures
SAME_AS = "kws.same_as"  # the tag that names the run with the same model and figures, where nobody may delete this one
BEGUN_IN = "kws.begun_in"  # the tag with a hash of the machine and the folder in which the experiment runs
PAUSE = 60.0  # s after a failure, until MLflow is tried again while a stage works
# The errors of a store that cannot be used: OSError for HTTP, ImportError for a database without its driver.
FAILURES = (MlflowException, SQLAlchemyError, OSError, ImportError, UserError)


class Recorder:
    """Carries out the orders of one stage.

    If MLflow fails, it prints one warning and keeps the orders. It tries them again with the first order that comes
    after a pause, and with the last one. What is left undone then is logged by the next stage or by `make publish`.
    """

    def __init__(self) -> None:
        self._undone: list[tuple[str, Mapping[str, Any]]] = []
        self._again: float | None = None  # when to try again, after a failure
        self._closed = False
        self._recorded = False
        self._registered: str | None = None
        self._machine_figures: dict[str, float] = {}

    def carry_out(self, order: str, details: Mapping[str, Any]) -> None:
        """Calls the method of that name, and before it those that failed. Nothing comes after `finish` or `end`."""
        if self._closed:
            return
        self._undone.append((order, details))
        self._closed = order in ("finish", "end")
        if self._again and not self._closed and time.monotonic() < self._again:
            return
        try:
            while self._undone:
                method, arguments = self._undone[0]
                getattr(self, method)(**arguments)
                self._undone.pop(0)
        except Exception as error:  # noqa: BLE001 (the stage goes on, whatever it is; the line says what it is)
            if not self._again:
                reason = reason_of(error)
                print(f"warning: {self._stage} goes on without MLflow: {reason}{LATER}", file=sys.stderr)
            self._again = time.monotonic() + PAUSE
            if self._closed:
                with contextlib.suppress(*FAILURES):
                    self.end("FAILED")
            return
        if self._again and order != "end":
            print(f"MLflow answers again: what was missing of {self._stage} is logged", file=sys.stderr)
        self._again = None

    def answer(self) -> dict[str, Any]:
        """Whether the stage is recorded, and what became of the model."""
        return {"recorded": self._recorded, "registered": self._registered}

    def begin(self, stage: str, key: str, params: Mapping[str, Any], model: str | None) -> None:
        """Creates the store and the experiment `kws` in it, unless they exist.

        Args:
            stage: name of the stage.
            key: of the experiment.
            params: all parameters.
            model: SHA-256 of the Keras file; None before it is trained.
        """
        self._stage, self._key, self._params, self._model = stage, key, params, model
        for name, value in QUICK.items():  # a dead server costs seconds, not minutes
            os.environ.setdefault(name, value)
        root = paths.project_root()  # not the folder of a queued experiment, which DVC deletes
        store = f"sqlite:///{root / DATABASE}"
        local = os.environ.setdefault("MLFLOW_TRACKING_URI", store) == store
        with FileLock(root / LOCK):  # two workers that create the tables at once would damage the store
            if local and not (root / DATABASE).exists():
                _create_database(root / DATABASE)
            experiment = mlflow.get_experiment_by_name(EXPERIMENT)
            if experiment and local:
                follow_project(root)
            if experiment:
                self._experiment = experiment.experiment_id
            else:
                self._experiment = _create_experiment((root / ARTIFACTS).as_uri() if local else None)

    def open(self, *, new: bool = False) -> None:
        """Opens the run, and logs earlier stages that are not in it.

        Args:
            new: whether the run must have no curves yet.
        """
        self._open(STAGES[: STAGES.index(self._stage)], new=new)

    def is_complete(self) -> bool:
        """Whether a run holds the files of this stage and of all before it, and the model, if this is the last."""
        runs = _agreeing(self._runs(), STAGES[: STAGES.index(self._stage) + 1])
        return any(
            run.info.status == "FINISHED"
            and STAGES.index(run.data.tags.get(LAST_STAGE, "download")) >= STAGES.index(self._stage)
            and (self._stage != STAGES[-1] or REGISTERED in run.data.tags)
            for run in runs
        )

    def log_epoch(self, row: Mapping[str, float], milliseconds: int | None = None) -> None:
        """Adds a row of the training curves. The time marks it: a row that is sent again is not logged twice."""
        figures = {name: value for name, value in row.items() if name != "epoch"}
        mlflow.log_metrics(figures, step=int(row["epoch"]), timestamp=milliseconds)

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Keeps figures that are in no file until the end of the stage."""
        self._machine_figures |= figures

    def register(self, card: str) -> None:
        """Registers the model with its card, unless the newest version of this run serves the same files."""
        from kws.tracking import registry

        with FileLock(paths.project_root() / LOCK):  # else two workers could compare with the same champion
            run = mlflow.get_run(mlflow.active_run().info.run_id)
            text = run.data.tags.get(REGISTERED)
            if not text or not registry.is_registered(run.info.run_id):
                text = registry.register(card)
                mlflow.set_tag(REGISTERED, text)
        self._registered = text

    def finish(self) -> None:
        """Logs the stage and ends the run.

        A new training may give the same model as another run of this experiment. Then DVC does not run the later
        stages, and this run would stay incomplete. It is removed, since the other run has everything.
        """
        stages = STAGES[: STAGES.index(self._stage) + 1]
        run = mlflow.get_run(mlflow.active_run().info.run_id)
        if self._stage == "train":
            self._model = sha256_of(paths.MODEL)
        others = [other for other in self._runs() if other.info.run_id != run.info.run_id]
        if self._stage == "train" and (same := _agreeing(others, stages)):
            self.end("FINISHED")
            _remove(run, same[0])
        else:
            if self._stage in JUDGES and not _agreeing([run], stages):  # the old run keeps its figures
                self.end("FINISHED")
                self._open(stages)
            self._log_stage(self._stage)
            mlflow.log_metrics(self._machine_figures)
            self.end("FINISHED")
        self._recorded = True

    def end(self, status: str) -> None:
        """Ends the run, if it is open."""
        mlflow.end_run(status)

    def _open(self, stages: Sequence[str], *, new: bool = False) -> None:
        """Resumes the newest run that agrees with the files of these stages, or starts a run; then logs the stages."""
        others = self._runs()
        runs = [run for run in _agreeing(others, stages) if not (new and "train_loss" in run.data.metrics)]
        if not mlflow.active_run():
            runs = self._without_empty(runs or self._left_unfinished())
        source = DataSource.read(paths.SOURCE)
        tags = {
            KEY: self._key,
            "dvc.exp": os.environ.get("DVC_EXP_NAME"),
            "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV"),
            "kws.data": "synthetic voices, for trying the machinery" if source.synthetic else None,
            CODE: None if runs else f"stages/{self._stage}.py",
            BEGUN_IN: _here(),
            DIFFERS_FROM: others[0].info.run_id if self._model and others and not runs else None,
        }
        name = f"{self._params['model']}-{Path(public_address(self._params['dataset'])).name}-{self._key[:6]}"
        run = mlflow.active_run() or mlflow.start_run(  # it is active if MLflow failed below, at the first try
            run_id=runs[0].info.run_id if runs else None,
            experiment_id=self._experiment,
            run_name=None if runs else tags["dvc.exp"] or name,
            tags={tag: value for tag, value in tags.items() if value},
        )
        origin = run.data.tags.get(ORIGIN, "")
        if origin != public_address(origin):
            mlflow.set_tag(ORIGIN, public_address(origin))
        mlflow.log_params({name: _shown(value) for name, value in self._params.items()})
        for stage in stages:
            if not _figures(stage).keys() <= run.data.metrics.keys():
                self._log_stage(stage)

    def _runs(self) -> list[Run]:
        """The runs of the experiment with the present model (None: no model yet), newest first."""
        return [run for run in self._all_runs() if run.data.tags.get(MODEL) == self._model]

    def _left_unfinished(self) -> list[Run]:
        """A run of this very training that MLflow's absence left half: no model, its curves the file's, up to an epoch.

        A run without curves that is RUNNING may be another training's, which has just begun.
        """
        if not self._model:
            return []
        trained = {int(row["epoch"]): float(row["train_loss"]) for row in read_csv(paths.HISTORY)}
        for run in self._all_runs():
            if not {MODEL, SAME_AS} & run.data.tags.keys():
                points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train_loss")
                agrees = all(trained.get(point.step) == point.value for point in points)
                if agrees and (points or run.info.status != "RUNNING"):
                    return [run]
        return []

    def _without_empty(self, runs: list[Run]) -> list[Run]:
        """The first of these runs; if there is none, one that began in this folder and got nothing. Others are removed.

        Such a run is left where the process was killed, or where the answer that it has begun came too late. MLflow
        asks again then, so there may be several.
        """
        empty = [
            run
            for run in self._all_runs()
            if run.data.tags.get(BEGUN_IN) == _here()
            and run.info.status == "RUNNING"
            and not run.data.metrics
            and not {MODEL, SAME_AS} & run.data.tags.keys()
        ]
        found = [*runs[:1], *empty]
        for other in found[1:]:
            mlflow.MlflowClient().set_terminated(other.info.run_id, "FAILED")
            _remove(other, found[0])
        return found[:1]

    def _all_runs(self) -> list[Run]:
        return list(
            mlflow.search_runs(
                [self._experiment],
                f"tags.`{KEY}` = '{self._key}'",
                order_by=["attributes.start_time DESC"],
                output_format="list",
            )
        )

    def _log_stage(self, stage: str) -> None:
        """Logs the files of a stage. Its figures come last, since they mark the stage as logged."""
        run = mlflow.get_run(mlflow.active_run().info.run_id)
        if stage == "featurize":
            self._log_dataset()
        if stage == "train":
            self._log_curves()
            pretrained = _told(stage).get("pretrained")
            mlflow.set_tags({MODEL: self._model} | ({PRETRAINED: pretrained} if pretrained else {}))
        folder = paths.PLOTS / ("features" if stage == "featurize" else stage)
        if stage == "train":  # the picture beside it may still be an earlier experiment's: stage evaluate draws it
            mlflow.log_artifact(str(paths.HISTORY), folder.as_posix())
        elif folder.exists():
            mlflow.log_artifacts(str(folder), folder.as_posix())
        if stage == "evaluate":  # it draws the training curves
            mlflow.log_artifact(str(paths.CURVES), paths.CURVES.parent.as_posix())
        if STAGES.index(stage) > STAGES.index(run.data.tags.get(LAST_STAGE, "download")):
            mlflow.set_tag(LAST_STAGE, stage)
        mlflow.log_metrics({name: x for name, x in _figures(stage).items() if run.data.metrics.get(name) != x})

    def _log_dataset(self) -> None:
        import pandas as pd
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.http_dataset_source import HTTPDatasetSource

        manifest = pd.read_csv(paths.MANIFEST, dtype=str, keep_default_na=False)
        address = DataSource.read(paths.SOURCE).address
        source = HTTPDatasetSource(address) if "://" in address else CodeDatasetSource({CODE: "stages/download.py"})
        digest = sha256_of(paths.MANIFEST)[:16]
        name = public_address(self._params["dataset"])
        dataset = mlflow.data.from_pandas(manifest, source, targets="word", name=name, digest=digest)
        mlflow.log_input(dataset, context="training")

    def _log_curves(self) -> None:
        """Adds epochs that were not logged during training."""
        run_id = mlflow.active_run().info.run_id
        logged = {point.step for point in mlflow.MlflowClient().get_metric_history(run_id, "train_loss")}
        for row in read_csv(paths.HISTORY):
            if int(row["epoch"]) not in logged:
                self.log_epoch({name: float(value) for name, value in row.items()})


def _create_experiment(place: str | None) -> str:
    """Creates the experiment `kws` and returns its id, also if somebody else creates it on the server just now.

    Args:
        place: for its artifacts; None for the server's.
    """
    try:
        return str(mlflow.create_experiment(EXPERIMENT, place))
    except MlflowException:
        experiment = mlflow.get_experiment_by_name(EXPERIMENT)
        if not experiment:
            raise
        return str(experiment.experiment_id)


def _remove(run: Run, same: Run) -> None:
    """Removes a run, or says of which other one it is a copy, where the server allows no removal."""
    try:
        mlflow.delete_run(run.info.run_id)
    except MlflowException as error:
        if status_of(error) != 403:
            raise
        mlflow.MlflowClient().set_tag(run.info.run_id, SAME_AS, same.info.run_id)


def _create_database(path: Path) -> None:
    """Creates MLflow's tables in a file that appears whole: if it is killed, MLflow cannot go on from half of them."""
    with written_whole(path) as partial:
        mlflow.MlflowClient(f"sqlite:///{partial}").search_experiments()


def _here() -> str:
    return hashlib.sha256(f"{platform.node()}:{Path.cwd()}".encode()).hexdigest()[:16]


def _shown(value: Any) -> Any:
    """The value of a parameter for MLflow: a list as text, an address without credentials."""
    if isinstance(value, list):
        return ", ".join(value)
    return public_address(value) if isinstance(value, str) else value


def _agreeing(runs: Sequence[Run], stages: Sequence[str]) -> list[Run]:
    """The runs in which no figure of these stages differs from the stages' files."""
    figures = {name: value for stage in stages for name, value in _figures(stage).items() if not math.isnan(value)}
    return [run for run in runs if all(run.data.metrics.get(name, value) == value for name, value in figures.items())]


def _told(stage: str) -> dict[str, Any]:
    """What a stage tells of its work: figures, and texts."""
    return dict(read_json(paths.METRICS / f"{stage}.json"))


def _figures(stage: str) -> dict[str, float]:
    """The figures of a stage, as `<stage>/<figure>`; those of evaluate, which users compare, without the stage."""
    prefix = "" if stage == "evaluate" else f"{stage}/"
    figures = {name: value for name, value in _told(stage).items() if not isinstance(value, str)}
    if stage == "evaluate":
        on_devices = read_json(paths.METRICS / "devices.json")
        figures |= {f"device {word} {name}": value for word, one in on_devices.items() for name, value in one.items()}
    # MLflow allows only these characters. Other words keep different names: Hindi has signs that differ by one vowel
    return {
        prefix + re.sub(r"[^\w .-]", lambda sign: ":" if sign[0] == "'" else f":{ord(sign[0]):x}", name): value
        for name, value in figures.items()
    }
