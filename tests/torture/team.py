"""Training by two workers, one of which is killed, and started again as what watches over programs does it."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from checkout import ROOT, Project

from torture import namespace
from torture.caches import UNTRACKED
from torture.faults import Kind, Outcome, Scene, Skipped, clear_line, judge
from torture.kills import ATTEMPTS
from torture.processes import Moment, Running
from torture.workspaces import Base, Measured

STAGE = "train"
DVC = ("dvc", "repro", "--single-item", STAGE)
WORKERS = ((*DVC,), ("python", f"stages/{STAGE}.py"))  # the chief, and the other one
ADDRESSES = "127.0.0.1:12345,127.0.0.1:12346"  # in a network that nobody else is in
MOST_STARTS = 40  # of a worker, each SECONDS after its end
SECONDS = 2.0
SHARDS = "CLIPS_A_SHARD = 1024", "CLIPS_A_SHARD = 16"  # each worker has shards of its own, of the few clips here


@contextmanager
def ready(base: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """An undisturbed training by two workers."""
    if not (ROOT / "src/kws/train/workers.py").exists():
        raise Skipped("this version of kws trains on one machine")
    if not namespace.entered():
        raise Skipped("TensorFlow listens on all addresses, and no network of its own can be made here")
    folder = base.stores.parent / "team"
    shutil.rmtree(folder, ignore_errors=True)
    project = base.copy(folder / "project", "featurize", STAGE)
    project.environment |= UNTRACKED
    for path in (project.root / "src/kws/records").glob("*.py"):
        if SHARDS[0] in (text := path.read_text()):
            path.unlink()  # it is a hard link
            path.write_text(text.replace(*SHARDS))
    project.run("dvc", "repro", "--single-item", "featurize")
    start = time.monotonic()
    _, lines, problem = train(project)
    if lines or problem:
        raise RuntimeError(f"an undisturbed training by two workers: {lines or problem}")
    measured = {STAGE: Measured(time.monotonic() - start, 0, 0)}
    project.commit()
    yield lambda scene: kill(replace(scene, base=Base(project, folder / "stores", measured)))
    shutil.rmtree(folder)


def kill(scene: Scene) -> Outcome:
    """Kills the chief with its DVC, or the other worker. Whoever ends is started again."""
    victim = scene.number % len(WORKERS)
    for attempt in range(ATTEMPTS):
        moment = Moment("time", scene.draw.uniform(0, scene.base.measured[STAGE].seconds) / 2**attempt)
        project = scene.workspace()
        struck, lines, problem = train(project, moment, victim)
        what = f"{('the chief', 'the other worker')[victim]} killed {moment}"
        if problem:
            return Outcome(what, "unexplained", problem)
        if struck:
            return judge(scene, project, what, said="; ".join(lines), again=DVC)
    return Outcome("none", "unexplained", f"no moment came before the end in {ATTEMPTS} attempts")


def train(project: Project, moment: Moment | None = None, victim: int = 0) -> tuple[bool, list[str], str]:
    """Trains until the chief has done its work.

    Args:
        project: all workers work in it, since only the chief writes.
        moment: when one of them is killed; None: never.
        victim: the number of that one.

    Returns:
        Whether one was killed, the lines with which workers have ended, and what cannot be explained.

    Raises:
        RuntimeError: a worker ended without such a line.
    """

    def start(number: int, moment: Moment | None = None) -> Running:
        variables = {"KWS_TRAIN_WORKERS": ADDRESSES, "KWS_TRAIN_WORKER": str(number), "PYTHONPATH": "src"}
        return Running(project, *WORKERS[number], moment=moment, **variables)

    lines: list[str] = []
    workers = [start(number, moment if number == victim else None) for number in range(len(WORKERS))]
    starts = len(workers)
    try:
        struck = bool(moment) and workers[victim].reaches() and workers[victim].kill_all()
        while starts < MOST_STARTS * len(workers):
            for number, worker in enumerate(workers):
                if worker.runs():
                    continue
                code, line = _end(worker)
                if code == 0 and number == 0:
                    return struck, lines, ""
                if code > 0:
                    lines.append(line)
                worker.close()
                time.sleep(SECONDS)
                workers[number] = start(number)  # also where it was done: the chief was killed then
                starts += 1
            time.sleep(0.1)
        return struck, lines, f"not done after {starts} starts of workers: {'; '.join(lines)}"
    finally:
        for worker in workers:
            worker.close()


def _end(worker: Running) -> tuple[int, str]:
    """The exit code of a worker, and the line that it ended with."""
    code, printed = worker.end()
    line = clear_line(printed)
    if code > 0 and not line:
        raise RuntimeError(f"no clear line: {printed[-2000:]}")
    return code, line


KINDS = [Kind("training worker killed", lambda tries: {STAGE: tries}, ready, alone=True)]
