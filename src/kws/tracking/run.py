"""The MLflow run of an experiment: one for all its stages, complete whatever DVC took from its cache."""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from kws.core import paths
from kws.core.files import read_json, sha256_of
from kws.core.params import Params

EXPERIMENT = "kws"
STAGES = ("download", "featurize", "train", "evaluate", "export", "project")
LOCK = ".mlflow.lock"  # in the project's root
_KEY, _MODEL = "kws.key", "kws.model"  # the tags by which a run is found again
_REGISTERED = "kws.registered"  # the tag that tells what became of the model


class Run:
    """The run as one stage sees it. When MLflow fails, that is said once, and the stage goes on without it."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._works = os.environ.get("KWS_TRACKING") != "off"

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Adds a row of the training curves, `epoch` and its figures, to be watched while training goes on."""
        self.attempt(lambda: _log_epoch(row))

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Adds what depends on the machine, and so stands in no file."""
        self.attempt(lambda: _log_figures(figures))

    def register(self, register: Callable[[], str]) -> None:
        """Has the run's model registered, once, and tells what became of it, now and in the run.

        Args:
            register: `kws.tracking.registry.register` with its argument.
        """
        self.attempt(lambda: _register(register))

    def attempt(self, action: Callable[[], None]) -> None:
        """Calls MLflow, unless it is turned off or has failed before."""
        if not self._works:
            return
        try:
            action()
        except _failures() as error:
            self._works = False
            reason = textwrap.shorten(str(error) or repr(error), 300)
            print(f"warning: {self._stage} goes on without MLflow: {reason}", file=sys.stderr)
            with contextlib.suppress(*_failures()):
                _end("FAILED")


def experiment_key(params: Params) -> str:
    """What tells one experiment from another: a hash of all parameters and of where the recordings came from."""
    identity = json.dumps([params.model_dump(mode="json"), read_json(paths.SOURCE)], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


@contextmanager
def tracked_run(params: Params, stage: str, *, new: bool = False) -> Iterator[Run]:
    """Has a stage's work tracked: parameters, curves, figures, pictures, data set and model.

    All stages of an experiment share a run. It is found by the hash of all parameters and of the data's source; where
    there is none (DVC took the training from its cache), one is made and filled from the files of the earlier stages.
    The store is `mlflow.db` and `mlartifacts/` in the project's root, unless MLFLOW_TRACKING_URI is set. A store that
    cannot be reached costs a warning; `KWS_TRACKING=off` turns tracking off.

    Args:
        params: all parameters of the experiment.
        stage: train, evaluate, export or project.
        new: training starts with its first epoch, instead of where it was interrupted.
    """
    run = Run(stage)
    try:
        run.attempt(lambda: _open(params, stage, new=new))
        yield run
        run.attempt(lambda: _finish(params, stage))
    except BaseException as error:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        run.attempt(lambda: _end(status))
        raise


def _open(params: Params, stage: str, *, new: bool) -> None:
    """Resumes the experiment's run, or starts one, and logs what the earlier stages have not logged in it."""
    experiment_id = _connect()
    import mlflow

    key = experiment_key(params)
    if stage == "train":  # only an unfinished run will do; for a new training, one with empty curves
        runs = [run for run in _runs(experiment_id, key, None) if not (new and "train_loss" in run.data.metrics)]
    else:
        runs = _runs(experiment_id, key, sha256_of(paths.MODEL))
    tags = {
        _KEY: key,
        "dvc.exp": os.environ.get("DVC_EXP_NAME"),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV"),
        "kws.data": "synthetic voices, for trying the machinery" if read_json(paths.SOURCE)["synthetic"] else None,
    }
    run = mlflow.start_run(
        run_id=runs[0].info.run_id if runs else None,
        experiment_id=experiment_id,
        run_name=None if runs else tags["dvc.exp"] or f"{params.model}-{Path(params.dataset).name}-{key[:6]}",
        tags={tag: value for tag, value in tags.items() if value},
    )
    values = params.model_dump()
    mlflow.log_params({name: ", ".join(v) if isinstance(v, tuple) else v for name, v in values.items()})
    for earlier in STAGES[: STAGES.index(stage)]:
        if not _figures(earlier).keys() <= run.data.metrics.keys():
            _log_stage(earlier, params)


def _finish(params: Params, stage: str) -> None:
    """Logs the stage, unless training gave the very model that another run of this experiment holds already.

    Then DVC has no reason to run the later stages: this run would never be complete, and the other one says it all.
    """
    import mlflow

    run = mlflow.active_run()
    if stage == "train" and _runs(run.info.experiment_id, run.data.tags[_KEY], sha256_of(paths.MODEL)):
        _end("FINISHED")
        mlflow.delete_run(run.info.run_id)
    else:
        _log_stage(stage, params)
        _end("FINISHED")


def _runs(experiment_id: str, key: str, model: str | None) -> list[Any]:
    """The runs of the experiment `key` that hold this model (None: no model yet), the newest first."""
    import mlflow

    newest_first = ["attributes.start_time DESC"]
    runs = mlflow.search_runs([experiment_id], f"tags.`{_KEY}` = '{key}'", order_by=newest_first, output_format="list")
    return [run for run in runs if run.data.tags.get(_MODEL) == model]


def _connect() -> str:
    """Sets MLflow up, makes the store if need be, and returns the id of our experiment in it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a dead server costs seconds, not minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # s
    root = paths.project_root()  # not the folder of a queued experiment, which DVC deletes
    store = f"sqlite:///{root / 'mlflow.db'}"
    ours = os.environ.setdefault("MLFLOW_TRACKING_URI", store) == store
    import mlflow

    with FileLock(root / LOCK):  # two workers that make the tables at once break the store for good
        experiment = mlflow.get_experiment_by_name(EXPERIMENT)
        if experiment:
            return experiment.experiment_id
        return mlflow.create_experiment(EXPERIMENT, (root / "mlartifacts").as_uri() if ours else None)


def _failures() -> tuple[type[Exception], ...]:
    """What a store that cannot be used raises: HTTP an OSError, a database without its driver an ImportError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError, ImportError


def _end(status: str) -> None:
    import mlflow

    mlflow.end_run(status)


def _log_epoch(row: Mapping[str, float]) -> None:
    import mlflow

    mlflow.log_metrics({name: value for name, value in row.items() if name != "epoch"}, step=int(row["epoch"]))


def _log_figures(figures: Mapping[str, float]) -> None:
    import mlflow

    mlflow.log_metrics(dict(figures))


def _log_stage(stage: str, params: Params) -> None:
    """Logs what a stage wrote; its figures come last, since they tell that the stage is logged."""
    import mlflow

    if stage == "featurize":
        _log_dataset(params)
    if stage == "train":
        _log_curves()
        mlflow.set_tag(_MODEL, sha256_of(paths.MODEL))
    folder = paths.PLOTS / ("features" if stage == "featurize" else stage)
    if folder.exists():
        mlflow.log_artifacts(str(folder), folder.as_posix())
    if stage == "evaluate":  # which draws the curves of the training
        mlflow.log_artifact(str(paths.CURVES), paths.CURVES.parent.as_posix())
    figures = _figures(stage)
    known = mlflow.get_run(mlflow.active_run().info.run_id).data.metrics
    mlflow.log_metrics({name: value for name, value in figures.items() if known.get(name) != value})


def _figures(stage: str) -> dict[str, float]:
    """The figures of a stage, `<stage>/<figure>`; those of evaluate, which people compare, by their plain names."""
    prefix = "" if stage == "evaluate" else f"{stage}/"
    figures = read_json(paths.METRICS / f"{stage}.json")
    return {prefix + re.sub(r"[^\w .-]", ":", name): value for name, value in figures.items()}  # MLflow knows no others


def _log_dataset(params: Params) -> None:
    import mlflow
    import pandas as pd
    from mlflow.data.http_dataset_source import HTTPDatasetSource

    manifest = pd.read_csv(paths.MANIFEST, dtype=str, keep_default_na=False)
    address = read_json(paths.SOURCE)["address"]
    source = HTTPDatasetSource(address) if "://" in address else None
    digest = sha256_of(paths.MANIFEST)[:16]
    dataset = mlflow.data.from_pandas(manifest, source, targets="word", name=params.dataset, digest=digest)
    mlflow.log_input(dataset, context="training")


def _log_curves() -> None:
    """Adds the epochs that were not logged while they went by."""
    import mlflow

    run_id = mlflow.active_run().info.run_id
    logged = {point.step for point in mlflow.MlflowClient().get_metric_history(run_id, "train_loss")}
    with paths.HISTORY.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if int(row["epoch"]) not in logged:
                _log_epoch({name: float(value) for name, value in row.items()})


def _register(register: Callable[[], str]) -> None:
    import mlflow

    said = mlflow.get_run(mlflow.active_run().info.run_id).data.tags.get(_REGISTERED)
    if not said:
        with (
            FileLock(paths.project_root() / LOCK),  # two workers would compare with the same champion
            contextlib.redirect_stdout(io.StringIO()),  # MLflow tries the example, with a progress bar
        ):
            said = register()
        mlflow.set_tag(_REGISTERED, said)
    print(said)
