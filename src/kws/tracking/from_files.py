"""The run of an experiment, made from its files: no stage runs.

Git and DVC bring the experiments of colleagues, but MLflow's store is in neither. So their runs are made here, as stage
project makes the run of an experiment whose other stages came from DVC's cache.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import sha256_of, write_json
from kws.core.params import load_params, read_yaml
from kws.tracking.refusal import PATIENT, RefusedRunError, is_of_run, reason_of
from kws.tracking.run import STAGES, experiment_key

LOCK = Path("dvc.lock")
# What a run is made of: not the recordings and the features, which are most of an experiment's bytes
FILES = (
    *(LOCK, paths.PARAMS, paths.SOURCE, paths.MANIFEST, paths.MODEL, paths.SPOTTER, paths.CARD),
    *(paths.ANSWERS, paths.VALIDATION, paths.METRICS, paths.PLOTS),
)


def last_stage(lock: Mapping[str, Any], params: Mapping[str, Any]) -> str | None:
    """The last stage of which dvc.lock says that it ran with these parameters, on what the stages before it made.

    An experiment may end early, as those of `make curve` do. Then dvc.lock says of later stages what they were in its
    baseline.

    Args:
        lock: the content of dvc.lock.
        params: the content of params.yaml.

    Returns:
        Its name; None: not even the first stage did.
    """
    made = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}
    last = None
    for name in STAGES:
        stage = lock["stages"].get(name)
        if not stage or any(made.get(dep["path"], dep["md5"]) != dep["md5"] for dep in stage["deps"]):
            break
        used = stage.get("params", {}).get(paths.PARAMS.name, {})
        if any(key not in params or params[key] != value for key, value in used.items()):
            break
        last = name
    return last


def record(folder: Path, name: str = "", baseline: str = "") -> str:
    """Makes the run of the experiment whose files are in a folder, unless there is one that holds all of them.

    A run that misses something is completed. The model is registered, as stage project does. If the folder is the
    project's root, data/tracked.json says so.

    Args:
        folder: has those of FILES that the experiment has.
        name: of the experiment in DVC, if it has one.
        baseline: the commit that the experiment began with.

    Returns:
        What became of it: `logged`, `there` (all was), or a line that says why no run can be made.

    Raises:
        RefusedRunError: MLflow refuses this run.
        UserError: MLflow's store cannot be used.
    """
    from kws.tracking.recorder import FAILURES, Recorder

    for setting, value in PATIENT.items():
        os.environ.setdefault(setting, value)
    root = paths.project_root()
    os.environ |= {"DVC_EXP_NAME": name, "DVC_EXP_BASELINE_REV": baseline}  # the recorder makes tags of them
    with contextlib.chdir(folder):
        try:
            params = load_params()
            stage = last_stage(read_yaml(LOCK), read_yaml(paths.PARAMS))
        except UserError as problem:  # an experiment of another kws
            return str(problem)
        if stage not in STAGES[STAGES.index("train") :]:
            return f"{LOCK} has no training with these parameters"
        key = experiment_key(params)
        recorder = Recorder()
        try:
            recorder.begin(stage, key, params.model_dump(mode="json"), sha256_of(paths.MODEL))
            complete = recorder.is_complete()
            if not complete:
                recorder.open()
                if stage == "project":
                    recorder.register(paths.CARD.read_text(encoding="utf-8"))
                recorder.finish()
        except FAILURES as error:
            with contextlib.suppress(*FAILURES):
                recorder.end("FAILED")
            if is_of_run(error):
                raise RefusedRunError(f"MLflow refuses it: {reason_of(error)}") from error
            raise UserError(f"MLflow's store cannot be used: {reason_of(error)}") from error
        if stage == "project" and folder.resolve() == root:
            write_json(paths.TRACKED, {"experiment": key})
    return "there" if complete else "logged"
