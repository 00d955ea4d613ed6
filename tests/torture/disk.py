"""A disk that is full: a file system in memory, with the project, what DVC keeps beside it, and temporary files."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torture import namespace
from torture.faults import Kind, Outcome, Scene, Skipped, after, clear_line, judge, warnings
from torture.kills import and_who_records
from torture.processes import Running
from torture.workspaces import STAGES, Base, outputs

ATTEMPTS = 6  # each with half the room
ROOM = 2**30  # bytes, where the disk is not full
FULL = (os.strerror(errno.ENOSPC), "database or disk is full")  # as the system says it, and SQLite
PATIENCE = 120  # seconds: a DVC that has not ended waits for room


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    """A file system in memory at this place."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # somebody may still look at it


def leave(place: Path, free: int) -> None:
    """Makes the file system so large that so many bytes are free; rounded up to pages."""
    state = os.statvfs(place)
    size = (state.f_blocks - state.f_bfree) * state.f_frsize + free
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


@contextmanager
def ready(_: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """Needs a namespace."""
    if not namespace.entered():
        raise Skipped("no file system may be mounted here, not even in a namespace")
    yield fill


def make_room(place: Path) -> None:
    """Makes the file system as large as it was."""
    subprocess.run(["mount", "-o", f"remount,size={ROOM}", str(place)], check=True)


def fill(scene: Scene) -> Outcome:
    """Leaves a random part of the room that the stage needs, runs it, makes room, and runs it again."""
    stage = scene.stage
    share = scene.draw.random()
    for attempt in range(ATTEMPTS):
        disk = scene.folder / f"disk{attempt + 1}"
        with mounted(disk):
            project = scene.base.copy(disk / "project", *and_who_records(stage), linked=False)
            (disk / "tmp").mkdir()
            project.environment |= {"TMPDIR": str(disk / "tmp")}
            free = round(share * needed(scene.base, stage) / 2**attempt)
            leave(disk, free)
            with Running(project, "dvc", "repro", "--single-item", stage) as running:
                if waits := not running.ends_within(PATIENCE):
                    make_room(disk)
                code, printed = running.end()
            what = f"{free:,} bytes free"
            if waits and not code:
                return judge(scene, project, what, said="DVC computed without a word until there was room")
            if not code and not warnings(printed):
                continue  # there was room enough
            said = (clear_line(printed) or dvcs_lines(printed)) if code else "; ".join(warnings(printed))
            if not said or "Traceback" in printed:
                return Outcome(what, "unexplained", f"exit code {code}: {printed[-3000:]}")
            make_room(disk)
            left = [path.name for path in project.leftovers()]
            if left and code:
                said += f" (left: {', '.join(left)})"
            return judge(scene, project, what, said=said, store=after(and_who_records(stage)[-1]))
    return Outcome("none", "unexplained", f"the disk was not full in {ATTEMPTS} attempts")


def dvcs_lines(printed: str) -> str:
    """The first of DVC's lines, one a file, which all say that the disk is full; empty if one of them does not."""
    lines = [line for line in printed.splitlines() if line.startswith("ERROR: ")]
    if not lines or not all(any(said in line for said in FULL) for line in lines):
        return ""
    return f"{lines[0]} (and {len(lines) - 1} more such lines of DVC)"


def needed(base: Base, stage: str) -> int:
    """About how many bytes a stage and DVC write: its outputs, and DVC's copy of them."""
    paths = [path for output in outputs(stage) for path in _below(base.project.root / output)]
    return 2 * sum(path.stat().st_size for path in paths) + 100_000


def _below(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


KINDS = [Kind("disk full", lambda tries: dict.fromkeys(STAGES, -(-tries // 4)), ready)]
