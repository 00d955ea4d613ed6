"""Half-written files of stages and of DVC that were killed: removed when no stage is at work.

A stage removes what it left when it runs again. But DVC may not run it again: a clone with the same cache may have made
its outputs meanwhile.
"""

import fcntl
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDERS = ("data", "metrics", "models", "plots")  # of outputs
HALF = re.compile(r"\.partial-.*|.*\.[\w-]{22}\.tmp")  # ours, and those of DVC
LOCK = Path(".scratch/stages.lock")  # of the workspace


@contextmanager
def at_work() -> Iterator[None]:
    """While a stage is inside, nobody removes half-written files of this workspace."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as file:
        with suppress(OSError):  # a file system without locks: `remove` removes nothing
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


def remove() -> None:
    """Removes half-written outputs, unless a stage is at work."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        found = [path for folder in FOLDERS for path in Path(folder).rglob("*") if HALF.fullmatch(path.name)]
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)  # it was in another one
