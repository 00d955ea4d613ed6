"""Puts git's dvc.lock in the place of one that DVC wrote by half, when it was killed or the disk was full.

DVC writes dvc.lock in place, and then refuses to work. `make` comes here first. What the lost half said of finished
stages, DVC finds in its cache.
"""

import subprocess

from kws.core import intact, paths
from kws.core.errors import UserError
from kws.core.files import written_whole
from kws.core.params import read_yaml

CONFLICT = b"<<<<<<< "  # git's mark, for people to solve


def main() -> None:
    """Says what it did, if anything."""
    if not intact.LOCK.exists() or _is_whole():
        return
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


def _is_whole() -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    if CONFLICT in intact.LOCK.read_bytes():
        return True
    try:
        COMPILED_LOCKFILE_SCHEMA(read_yaml(intact.LOCK))
    except (Invalid, UserError):
        return False
    return True


if __name__ == "__main__":
    main()
