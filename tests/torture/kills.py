"""kill -9: of all processes of a stage, of the stage alone, and of its workers alone."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import psutil

from torture.faults import Kind, Outcome, Scene, Skipped, after, clear_line, judge, unfinished_runs, warnings
from torture.processes import Moment, Running
from torture.workspaces import STAGES, Base, Measured

ATTEMPTS = 5  # at a moment that comes before the end
LONGEST_DELAY = 0.02  # seconds behind a change of a file
TRACKED = ("train", "evaluate", "export", "project")  # the stages with a process that calls MLflow
CLUSTER = {"KWS_CLUSTER": "local:2"}


def draw_moment(draw: random.Random, measured: Measured, attempt: int) -> Moment:
    """A moment in a run of a stage: half of them by time, half at a change of a file or a little after one.

    Files are in danger at the changes, which take a small share of the time.
    """
    if draw.random() < 0.5:
        return Moment("time", draw.uniform(0, measured.seconds) / 2**attempt)
    who = draw.choice([who for who in ("dvc", "stage") if getattr(measured, who)])
    return Moment(who, draw.randint(1, getattr(measured, who)), draw.choice([0, draw.uniform(0, LONGEST_DELAY)]))


@contextmanager
def kill_ready(_: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """Nothing is needed."""
    yield kill


def kill(scene: Scene) -> Outcome:
    """Kills a stage, DVC and all that they have started; or, half the time, the stage alone, and DVC tells of it."""
    stage = scene.stage
    everything = scene.draw.random() < 0.5
    for attempt in range(ATTEMPTS):
        moment = draw_moment(scene.draw, scene.base.measured[stage], attempt)
        project = scene.workspace()
        with Running(project, "dvc", "repro", "--single-item", stage, moment=moment) as running:
            if not running.reaches():
                continue
            process = running.stage(stage)
            if everything or not process or moment.who == "dvc":
                running.kill_all()
                what = "DVC and all killed"
            else:
                running.kill([process])
                what = "stage killed"
            code, printed = running.end()
            if not code:  # it had done its work just before
                continue
            if what == "stage killed" and f"failed to reproduce '{stage}'" not in printed:
                return Outcome(f"{what} {moment}", "unexplained", f"exit code {code}: {printed[-2000:]}")
            if alive := running.outlived():
                return Outcome(f"{what} {moment}", "unexplained", f"still alive: {', '.join(alive)}")
        return judge(scene, project, f"{what} {moment}", store=after(stage))
    return Outcome("none", "unexplained", f"no moment came before the end in {ATTEMPTS} attempts")


@contextmanager
def kill_worker_ready(_: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """Nothing is needed."""
    yield kill_worker


@contextmanager
def kill_dask_ready(_: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """Needs Dask."""
    if not find_spec("distributed"):
        raise Skipped("Dask is not installed: make setup WITH=cluster")
    yield lambda scene: kill_worker(scene, **CLUSTER)


def kill_worker(scene: Scene, **environment: str) -> Outcome:
    """Kills one of the processes that a stage has started, drawn by lot."""
    stage = scene.stage
    forgotten = and_who_records(stage)
    for attempt in range(ATTEMPTS):
        moment = Moment("time", scene.draw.uniform(0, scene.base.measured[stage].seconds) / 2**attempt)
        project = scene.workspace(*forgotten)
        with Running(project, "dvc", "repro", "--single-item", stage, moment=moment, **environment) as running:
            if not running.reaches():
                continue
            while not (workers := running.workers(stage)) and running.runs():
                time.sleep(0.001)  # before the first one there is nothing to kill
            if not workers:
                continue
            victim = scene.draw.choice(sorted(workers, key=lambda worker: worker.pid))
            what = f"{role(victim)} killed {moment}"
            if not running.kill([victim]):  # it had done its work just before
                continue
            code, printed = running.end()
            if alive := running.outlived():
                return Outcome(what, "unexplained", f"still alive: {', '.join(alive)}")
        said = clear_line(printed) if code else "; ".join(warnings(printed))
        if (code and not said) or ("Traceback" in printed and not environment):  # Dask tells of it in its own way
            return Outcome(what, "unexplained", f"exit code {code}: {printed[-2000:]}")
        outcome = judge(scene, project, what, said=said, store=after(forgotten[-1]))
        left = unfinished_runs(project.root)
        return (
            outcome if not left else Outcome(what, outcome.ended, f"{outcome.said}; unfinished runs in MLflow: {left}")
        )
    return Outcome("none", "unexplained", f"no worker was seen in {ATTEMPTS} attempts")


def and_who_records(stage: str) -> list[str]:
    """The stage; and project, which records in MLflow what an earlier one could not."""
    return [stage, "project"] if stage in TRACKED[:-1] else [stage]


def role(process: psutil.Process) -> str:
    """What a worker is there for."""
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return "worker"
    roles = {
        "kws.tracking.worker": "MLflow's process",
        "kws.project.second_process": "the projections' process",
        "kws.download.voices.espeak": "a voice",
    }
    return next((told for module, told in roles.items() if module in words), "a process of Dask")


KINDS = [
    Kind("killed", lambda tries: dict.fromkeys(STAGES, tries), kill_ready),
    Kind("worker killed", lambda tries: dict.fromkeys(("download", *TRACKED), -(-tries // 4)), kill_worker_ready),
    Kind("Dask worker killed", lambda tries: {"featurize": tries}, kill_dask_ready),
]
