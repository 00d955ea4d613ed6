"""A clock that is set back: files come from the future, or time runs again while a stage works."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from checkout import Project

from torture.faults import Kind, Outcome, Scene, after, clear_line, judge, warnings
from torture.kills import ATTEMPTS
from torture.processes import Moment, Running
from torture.workspaces import STAGES, Base

OFFSETS = {"a second": 1, "an hour": 3600, "a day": 86_400, "ten years": 315_360_000}  # s
BOOT = 600  # s after the beginning of 1970: a computer without a battery for its clock
SOURCE = Path(__file__).with_suffix(".c")
LIBRARY = Path(tempfile.gettempdir(), f"torture-clock-{os.getuid()}.so")  # LD_PRELOAD takes no path with spaces
REFUSED = "error: the clock of this computer says "


@contextmanager
def ready(_: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """A library that sets the clock of a program. Without a C compiler, files alone have other times."""
    ways = [files_of_the_future]
    if compiler := shutil.which("cc"):
        partial = LIBRARY.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", partial, SOURCE], check=True)
        partial.replace(LIBRARY)
        ways += [clock_jumps, clock_begins]
    yield lambda scene: ways[scene.number % len(ways)](scene)


class Clock:
    """The clock of a command.

    Attributes:
        environment: gives a program this clock.
    """

    def __init__(self, scene: Scene) -> None:
        self._file = scene.folder / "clock"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(LIBRARY), "TORTURE_CLOCK": str(self._file)}

    def set(self, ahead: int) -> None:
        """Sets it so many seconds ahead of the real one, at once, also in programs that run."""
        with self._file.open("r+b") as file:
            file.write(ahead.to_bytes(8, sys.byteorder, signed=True))


def files_of_the_future(scene: Scene) -> Outcome:
    """All files were written before the clock was set back, so that their times are still to come."""
    offset, seconds = scene.draw.choice(list(OFFSETS.items()))
    project = scene.workspace(linked=False)
    then = time.time() + seconds
    for path in project.root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (then, then))
    code, printed = project.try_to("dvc", "repro", "--single-item", scene.stage)
    return _judge(scene, project, f"clock set back by {offset} before the stage", code, printed)


def clock_jumps(scene: Scene) -> Outcome:
    """The clock is set back while the stage runs."""
    offset, seconds = scene.draw.choice(list(OFFSETS.items()))
    command = ("dvc", "repro", "--single-item", scene.stage)
    for attempt in range(ATTEMPTS):
        moment = Moment("time", scene.draw.uniform(0, scene.base.measured[scene.stage].seconds) / 2**attempt)
        project, clock = scene.workspace(), Clock(scene)
        with Running(project, *command, moment=moment, **clock.environment) as running:
            if not running.reaches():
                continue
            clock.set(-seconds)
            code, printed = running.end()
        return _judge(scene, project, f"clock set back by {offset} {moment}", code, printed)
    return Outcome("none", "unexplained", f"no moment came before the end in {ATTEMPTS} attempts")


def clock_begins(scene: Scene) -> Outcome:
    """The clock stands where it does before a computer has asked for the time."""
    project, clock = scene.workspace(), Clock(scene)
    clock.set(BOOT - int(time.time()))
    code, printed = project.try_to("dvc", "repro", "--single-item", scene.stage, **clock.environment)
    what, said = "clock at the beginning of 1970", clear_line(printed)
    if not code or not said.startswith(REFUSED):
        return Outcome(what, "unexplained", f"exit code {code}: {said or printed[-2000:]}")
    return judge(scene, project, what, said=said, store=after(scene.stage))


def _judge(scene: Scene, project: Project, what: str, code: int, printed: str) -> Outcome:
    """The stage must have done its work."""
    if code or "Traceback" in printed or warnings(printed):
        return Outcome(what, "unexplained", f"exit code {code}: {clear_line(printed) or printed[-2000:]}")
    return judge(scene, project, what, store=after(scene.stage))


KINDS = [Kind("clock set back", lambda tries: dict.fromkeys(STAGES, 3 * -(-tries // 20)), ready)]
