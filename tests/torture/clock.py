"""A clock that is set back: files come from the future, or time runs again while a stage works."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from checkout import Project

from torture.faults import Kind, Outcome, Scene, after, clear_line, judge, warnings
from torture.processes import Moment, Running
from torture.workspaces import STAGES, Base

LIBRARIES = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)  # Debian: libfaketime
OFFSETS = {"a second": 1, "an hour": 3600, "a day": 86_400, "ten years": 315_360_000}  # s
BOOT = "@1970-01-01 00:10:00"  # a computer without a battery for its clock


@contextmanager
def ready(_: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """Nothing is needed. Without Debian's libfaketime, files alone have other times."""
    library = find_library()
    ways = [files_of_the_future, *([clock_jumps, clock_begins] if library else [])]
    yield lambda scene: ways[scene.number % len(ways)](scene, library)


def find_library() -> str:
    """The library that gives programs another time; empty if it is not installed. KWS_FAKETIME names it, too."""
    if named := os.environ.get("KWS_FAKETIME"):
        return named
    return next((str(found) for pattern in LIBRARIES for found in Path("/").glob(pattern[1:])), "")


def files_of_the_future(scene: Scene, _: str) -> Outcome:
    """All files were written before the clock was set back, so that their times are still to come."""
    offset, seconds = scene.draw.choice(list(OFFSETS.items()))
    project = scene.workspace(linked=False)
    then = time.time() + seconds
    for path in project.root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (then, then))
    code, printed = project.try_to("dvc", "repro", "--single-item", scene.stage)
    return _judge(scene, project, f"clock set back by {offset} before the stage", code, printed)


def clock_jumps(scene: Scene, library: str) -> Outcome:
    """The clock is set back while the stage runs."""
    offset, seconds = scene.draw.choice(list(OFFSETS.items()))
    moment = Moment("time", scene.draw.uniform(0, scene.base.measured[scene.stage].seconds))
    project = scene.workspace()
    clock = scene.folder / "clock"
    clock.write_text("+0")
    fake = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1"}
    fake |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # as a real clock, which no timeout goes by
    with Running(project, "dvc", "repro", "--single-item", scene.stage, moment=moment, **fake) as running:
        running.reaches()
        clock.write_text(f"-{seconds}")
        code, printed = running.end()
    return _judge(scene, project, f"clock set back by {offset} {moment}", code, printed)


def clock_begins(scene: Scene, library: str) -> Outcome:
    """The clock stands where it does before a computer has asked for the time."""
    project = scene.workspace()
    fake = {"LD_PRELOAD": library, "FAKETIME": BOOT, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    code, printed = project.try_to("dvc", "repro", "--single-item", scene.stage, **fake)
    return _judge(scene, project, "clock at the beginning of 1970", code, printed)


def _judge(scene: Scene, project: Project, what: str, code: int, printed: str) -> Outcome:
    """The stage must have done its work: no clock is a reason not to."""
    if code or "Traceback" in printed or warnings(printed):
        return Outcome(what, "unexplained", f"exit code {code}: {clear_line(printed) or printed[-2000:]}")
    return judge(scene, project, what, store=after(scene.stage))


KINDS = [Kind("clock set back", lambda tries: dict.fromkeys(STAGES, 3 * -(-tries // 20)), ready)]
