"""A worker of a sweep: takes trials of a study, and runs them as experiments, until the study has all of them."""

import math
import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from kws.core import paths
from kws.core.errors import UserError
from kws.core.naming import first_names
from kws.sweep import copy
from kws.sweep.copy import ProjectCopy, cpu_seconds, git, project_copy
from kws.sweep.report import write_results
from kws.sweep.space import Search
from kws.sweep.study import SharedStudy, Taken, database_reason

FAILURES = 3  # trainings that fail one after the other: then the worker ends, since the next ones would fail, too
UNJUDGED = 1 / 3  # of a trial's epochs: a slow start is not hopeless
TAKEN_OVER = "another worker has taken it over, since this one was silent"
BASIS = ("src", "stages", "dvc.yaml", "params.yaml", "versions.yaml")  # what a trial takes from the commit


def run_worker(search: Search, name: str, address: str, remote: str) -> str:
    """Runs trials, writes what the study found, and returns it as text.

    Args:
        search: what is searched.
        name: of the study.
        address: of its database.
        remote: the git remote to which experiments are pushed; empty: none.

    Raises:
        UserError: what stops the worker.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    root = paths.project_root()
    study = SharedStudy.open(address, name)
    try:
        commit = study.agree(search.space.identity(search.overrides_of({})), lambda: _commit(root, name))
        with project_copy(root, commit, remote) as project:
            _work(study, project, search)
        with study.alone():  # several workers of this checkout may end at the same time
            return write_results(study, search)
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(
            f"STUDY={name}: its database fails: {database_reason(error)}; start the worker again when it works: the "
            "trial of this worker is run again"
        ) from None


def _commit(root: Path, study: str) -> str:
    """The commit at which the trials of a new study begin.

    Raises:
        UserError: what the trials take from it is not committed; or another study has had this name, and its
            experiments would be replaced.
    """
    names = git(root, "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps").splitlines()
    if old := [name for name in names if re.fullmatch(rf"{study}-\d+", name)]:
        raise UserError(
            f"STUDY={study}: it is new in this database, but experiments of an older study have its name "
            f"({first_names(sorted(old))}): give another STUDY, or remove them (dvc exp remove)"
        )
    if changed := git(root, "status", "--porcelain", "--untracked-files=no", "--", *BASIS):
        files = ", ".join(line.split(maxsplit=1)[1] for line in changed.splitlines())
        raise UserError(f"{files}: differs from the last commit, at which all trials begin; commit it, or git stash")
    return git(root, "rev-parse", "HEAD")


def _work(study: SharedStudy, project: ProjectCopy, search: Search) -> None:
    """Takes trials until there are no more, and those of other workers have ended."""
    failures, told = 0, False
    while True:
        taken, running = study.take(search.wanted, search.space.suggest)
        if taken:
            print(f"trial {taken.number}: {_shown(taken.values)}", flush=True)
            reason = _run(study, project, taken, search)
            failures = failures + 1 if reason else 0
            if failures == FAILURES:
                raise UserError(
                    f"{FAILURES} trials failed one after the other; the last one: {reason} (all that it printed: "
                    f"{project.log.relative_to(project.root)})"
                )
        elif not running:
            return
        else:
            if not told:
                print(f"waiting for trials that other workers run: {running}", flush=True)
            told = True
            time.sleep(copy.POLL)


def _run(study: SharedStudy, project: ProjectCopy, taken: Taken, search: Search) -> str:
    """Runs a trial, and returns why its training failed; empty: it did not."""
    experiment = f"{study.name}-{taken.number}"
    started, beat = cpu_seconds(), partial(study.beat, taken)

    def kept(**more: Any) -> dict[str, Any]:
        return {"values": taken.values, "cpu_seconds": round(cpu_seconds() - started, 1), **more}

    def end(told: str, state: TrialState, value: float | None = None, **more: Any) -> None:
        if not study.settle(taken, state, kept(**more), value):
            told = TAKEN_OVER
        print(f"trial {taken.number}: {told}", flush=True)

    def follow(epochs: list[dict[str, float]]) -> None:
        beat()
        study.report(taken, epochs, judged_after)

    try:
        project.prepare(search.overrides_of(taken.values))
        try:
            epochs = project.params().epochs
        except UserError as error:  # the values do not fit together, which says nothing of the next trial
            end(f"failed: {error}", TrialState.FAIL, reason=str(error))
            return ""
        judged_after = _judged_after(search, epochs)
        if project.train(experiment, follow):
            reason = project.failure()
            end(f"failed: {reason}", TrialState.FAIL, reason=reason)
            return reason
        figures, history, data = project.result()
        beat()
        study.report(taken, history, math.inf)
        _same_data(study, data)
        project.save(experiment, beat)
        accuracy, loss = figures["validation_accuracy"], figures["validation_loss"]
        end(f"validation accuracy {accuracy:.2%}", TrialState.COMPLETE, accuracy, validation_loss=loss, data=data)
    except optuna.TrialPruned:
        curve = project.epochs()
        project.forget_training(curve)
        end(f"stopped after epoch {curve[-1]['epoch']:.0f}", TrialState.PRUNED)
    except UpdateFinishedTrialError:
        print(f"trial {taken.number}: {TAKEN_OVER}", flush=True)
    except (KeyboardInterrupt, UserError):
        study.put_back(taken, kept())
        raise
    return ""


def _judged_after(search: Search, epochs: int) -> float:
    """The number of epochs after which a trial may be stopped.

    Where trials have other numbers of epochs, none is: one epoch is not the same part of a short training and of a long
    one.
    """
    return math.inf if "epochs" in search.space.search else epochs * UNJUDGED


def _same_data(study: SharedStudy, data: Mapping[str, Any]) -> None:
    """Refuses data that are not those of the other trials.

    Raises:
        UserError: they differ.
    """
    known = study.data()
    if known and known["sha256"] != data["sha256"]:
        archives = f"SHA-256 {known['sha256']} there, {data['sha256']} here"
        raise UserError(f"the recordings are not those of the study's other trials ({archives})")


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
