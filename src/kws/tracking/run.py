"""The MLflow run of an experiment, as a stage uses it. A second process calls MLflow at the same time."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from os import environ
from pathlib import Path
from typing import Any

from kws.core import paths
from kws.core.files import read_json, require_exists, sha256_of, write_json
from kws.core.params import Params

EXPERIMENT = "kws"
STAGES = ("download", "featurize", "train", "evaluate", "export", "project")
LONGEST_WAIT = 120  # s that a stage waits at its end for a server that is slow
LATER = "; what it misses is logged by the next stage, or by make publish"


class Worker:
    """The process that calls MLflow (`kws.tracking.worker`). It carries out orders while the stage works.

    Importing MLflow and opening its store take seconds, and the stage does not wait for them. When the stage dies, the
    process reaches the end of its orders, ends the run as KILLED, and exits.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kws.tracking.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C reaches only the stage, which then ends the run
        )

    def send(self, order: str, **details: Any) -> None:
        """Sends an order without waiting for it."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # the process has ended: `answer` says so
            self._process.stdin.write(json.dumps([order, details]) + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Waits until all orders are done, or for too long, and returns the recorder's `answer`."""
        try:
            answer, _ = self._process.communicate(timeout=LONGEST_WAIT)
            reason = f"its process ended with exit code {self._process.returncode}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            answer, reason = "", f"it was not done {LONGEST_WAIT} s after the end of the stage"
        if not answer:
            print(f"warning: {self._stage} goes on without MLflow: {reason}{LATER}", file=sys.stderr)
            return {"recorded": False, "registered": None}
        return dict(json.loads(answer))


class Run:
    """The run of a stage. Only `end` waits for MLflow, and no method fails if MLflow fails."""

    def __init__(self, worker: Worker | None, params: Params) -> None:
        self._worker = worker
        self._params = params
        self._recorded = True

    def start_training(self, *, new: bool) -> None:
        """Opens the run of a training. A `new` training, which starts at its first epoch, gets a run without curves."""
        self._send("open", new=new)

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Adds a row of the training curves, `epoch` and its figures. MLflow shows it during training.

        If KWS_CURVE names a file, the row is added there, too, as a line of JSON: a sweep follows the training.
        """
        self._send("log_epoch", row=dict(row), milliseconds=int(time.time() * 1000))
        if curve := environ.get("KWS_CURVE"):
            with Path(curve).open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(row)) + "\n")

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Adds figures that depend on the machine and are in no file."""
        self._send("log_figures", figures={name: float(value) for name, value in figures.items()})

    def register(self, card: str) -> None:
        """Registers the run's model with its card. `end` prints what became of it."""
        self._send("register", card=card)

    def end(self, order: str, **details: Any) -> None:
        """Sends the last order, waits for all of them, and prints what became of the model."""
        if not self._worker:
            return
        self._worker.send(order, **details)
        answer = self._worker.answer()
        self._recorded = answer["recorded"]
        if answer["registered"]:
            print(answer["registered"])

    def write_tracked(self) -> None:
        """Writes data/tracked.json: which experiment was recorded.

        If MLflow failed, it is none. The next `dvc repro` begins with stage watch, which removes such a file. So stage
        project runs again, and records the experiment. `make publish` records it without running anything.
        """
        write_json(paths.TRACKED, {"experiment": experiment_key(self._params) if self._recorded else None})

    def _send(self, order: str, **details: Any) -> None:
        if self._worker:
            self._worker.send(order, **details)


def experiment_key(params: Params) -> str:
    """Identifies an experiment: a hash of all parameters and of the source of the recordings."""
    identity = json.dumps([params.model_dump(mode="json"), read_json(paths.SOURCE)], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


@contextmanager
def tracked_run(params: Params, stage: str) -> Iterator[Run]:
    """Records a stage in MLflow: parameters, curves, figures, pictures, data set and model.

    All stages of an experiment share a run. It is found by the hash of all parameters and of the data's source. If
    there is none (DVC took the training from its cache), a run is opened and filled from the files of earlier stages.
    The store is `mlflow.db` and `mlartifacts/` in the project's root, unless MLFLOW_TRACKING_URI is set. A store that
    cannot be reached costs a warning; `KWS_TRACKING=off` turns tracking off. Of several
    workers that train together, the chief alone records.

    Call it before importing TensorFlow or UMAP, so that MLflow starts at the same time.

    Args:
        params: all parameters of the experiment.
        stage: train (which must call `start_training`), evaluate, export or project.
    """
    if environ.get("KWS_TRACKING") == "off" or environ.get("KWS_TRAIN_WORKER", "") not in ("", "0"):
        yield Run(None, params)
        return
    key = experiment_key(params)
    model = None if stage == "train" else sha256_of(require_exists(paths.MODEL))
    worker = Worker(stage)
    run = Run(worker, params)
    worker.send("begin", stage=stage, key=key, params=params.model_dump(mode="json"), model=model)
    try:
        if stage != "train":
            worker.send("open")
        yield run
    except BaseException as error:
        run.end("end", status="KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    run.end("finish")
