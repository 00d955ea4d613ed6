"""Mends what DVC wrote by half when it was killed or the disk was full. `make` comes here first.

Else DVC would refuse to work. It writes in place dvc.lock, and .dvc/tmp/rwlock, which says what runs. In the place of
dvc.lock comes that of git: what the lost half said of finished stages, DVC finds in its cache.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from kws.core import intact, paths
from kws.core.errors import UserError
from kws.core.files import written_whole
from kws.core.params import read_yaml

RUNNING = Path(".dvc/tmp/rwlock")
SECONDS = 1.0  # in which a program that runs has written it
CONFLICT = b"<<<<<<< "  # git's mark, for people to solve


def main() -> None:
    """Says what it did, if anything."""
    if _stays_half(intact.LOCK, _is_lock):
        _mend_lock()
    if _stays_half(RUNNING, _is_json):
        RUNNING.unlink(missing_ok=True)
        print(f"{RUNNING} was written by half, since DVC was killed or the disk was full: it is removed")


def _stays_half(path: Path, is_whole: Callable[[Path], bool]) -> bool:
    """Whether a file is written by half, and stays so: somebody may be writing it just now."""
    for pause in (0.0, SECONDS):
        time.sleep(pause)
        if not path.exists() or is_whole(path):
            return False
    return True


def _mend_lock() -> None:
    aside = paths.scratch("damaged") / intact.LOCK.name
    intact.LOCK.replace(aside)
    command = ["git", "show", f"HEAD:./{intact.LOCK}"]
    committed = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 (ours)
    instead = "none is there now"
    if committed.returncode == 0:
        with written_whole(intact.LOCK) as partial:
            partial.write_bytes(committed.stdout)
        instead = "that of the last commit is there now"
    print(f"dvc.lock was written by half, since DVC was killed or the disk was full: {instead}; the half is {aside}")


def _is_lock(path: Path) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    if CONFLICT in path.read_bytes():
        return True
    try:
        COMPILED_LOCKFILE_SCHEMA(read_yaml(path))
    except (Invalid, UserError):
        return False
    return True


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main()
