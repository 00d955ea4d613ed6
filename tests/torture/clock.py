"""A clock that is set back: files come from the future, or time runs again while a stage works."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from checkout import Project

from torture.faults import Kind, Outcome, Scene, after, clear_line, judge, warnings
from torture.processes import Moment, Running
from torture.workspaces import STAGES, Base

OFFSETS = {"a second": 1, "an hour": 3600, "a day": 86_400, "ten years": 315_360_000}  # s
BOOT = 600  # s after the beginning of 1970: a computer without a battery for its clock
SOURCE = Path(__file__).with_suffix(".c")


@contextmanager
def ready(base: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """A library that sets the clock of a program. Without a C compiler, files alone have other times."""
    library, compiler = base.stores.parent / "clock.so", shutil.which("cc")
    ways = [files_of_the_future]
    if compiler:
        library.parent.mkdir(exist_ok=True)
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
        ways += [clock_jumps, clock_begins]
    yield lambda scene: ways[scene.number % len(ways)](scene, library)


class Clock:
    """The clock of a command.

    Attributes:
        environment: gives a program this clock.
    """

    def __init__(self, scene: Scene, library: Path) -> None:
        self._file = scene.folder / "clock"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "TORTURE_CLOCK": str(self._file)}

    def set(self, ahead: int) -> None:
        """Sets it so many seconds ahead of the real one, at once, also in programs that run."""
        with self._file.open("r+b") as file:
            file.write(ahead.to_bytes(8, sys.byteorder, signed=True))


def files_of_the_future(scene: Scene, _: Path) -> Outcome:
    """All files were written before the clock was set back, so that their times are still to come."""
    offset, seconds = scene.draw.choice(list(OFFSETS.items()))
    project = scene.workspace(linked=False)
    then = time.time() + seconds
    for path in project.root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (then, then))
    code, printed = project.try_to("dvc", "repro", "--single-item", scene.stage)
    return _judge(scene, project, f"clock set back by {offset} before the stage", code, printed)


def clock_jumps(scene: Scene, library: Path) -> Outcome:
    """The clock is set back while the stage runs."""
    offset, seconds = scene.draw.choice(list(OFFSETS.items()))
    moment = Moment("time", scene.draw.uniform(0, scene.base.measured[scene.stage].seconds))
    project, clock = scene.workspace(), Clock(scene, library)
    command = ("dvc", "repro", "--single-item", scene.stage)
    with Running(project, *command, moment=moment, **clock.environment) as running:
        running.reaches()
        clock.set(-seconds)
        code, printed = running.end()
    return _judge(scene, project, f"clock set back by {offset} {moment}", code, printed)


def clock_begins(scene: Scene, library: Path) -> Outcome:
    """The clock stands where it does before a computer has asked for the time."""
    project, clock = scene.workspace(), Clock(scene, library)
    clock.set(BOOT - int(time.time()))
    code, printed = project.try_to("dvc", "repro", "--single-item", scene.stage, **clock.environment)
    return _judge(scene, project, "clock at the beginning of 1970", code, printed, may_refuse=True)


def _judge(  # noqa: PLR0913 (what a run was)
    scene: Scene, project: Project, what: str, code: int, printed: str, *, may_refuse: bool = False
) -> Outcome:
    """The stage must have done its work. Only a clock before 1980 is a reason not to."""
    said = clear_line(printed)
    if (code and not (may_refuse and said)) or "Traceback" in printed or warnings(printed):
        return Outcome(what, "unexplained", f"exit code {code}: {said or printed[-2000:]}")
    return judge(scene, project, what, said=said, store=after(scene.stage))


KINDS = [Kind("clock set back", lambda tries: dict.fromkeys(STAGES, 3 * -(-tries // 20)), ready)]
