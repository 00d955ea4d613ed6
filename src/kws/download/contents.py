"""What a folder or an archive of the user's holds, in a few bytes that are equal for equal recordings."""

import hashlib
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from kws.audio.formats import is_hidden
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import read_json, sha256_of, write_json


def contents_of(own: Path) -> dict[str, Any]:
    """The number of files, and a SHA-256 over their names and bytes.

    Place, times and hidden files do not count, so a copy on another machine gives the same. Bytes are read only if
    the name, the size or a time of a file differs from the last call.

    Args:
        own: a folder or a file, which exists.

    Raises:
        UserError: a file cannot be read.
    """
    folder, files = (own.parent, [own.name]) if own.is_file() else (own, _files_below(own))
    state = hashlib.sha256()
    for name in files:
        found = (folder / name).stat()
        # ctime, too: `cp -p` and `mv` over a file may leave its size and mtime as they were
        state.update(os.fsencode(name) + f"\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n".encode())
    memory = paths.scratch("watch") / "known.json"
    with FileLock(memory.with_suffix(".lock")):  # the second worker of a queue waits, then need not read
        known = read_json(memory) if memory.exists() else {}
        if known.get(str(own), {}).get("state") != state.hexdigest():
            known[str(own)] = {"state": state.hexdigest(), "sha256": _hash(folder, files)}
            write_json(memory, known)
    return {"files": len(files), "sha256": known[str(own)]["sha256"]}


def _files_below(folder: Path) -> list[str]:
    """The names of all regular files below `folder` that are not hidden, from there, sorted."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        paths_here = (Path(here) / name for name in files if not is_hidden(name))
        found += [path.relative_to(folder).as_posix() for path in paths_here if path.is_file()]
    return sorted(found)


def _hash(folder: Path, files: list[str]) -> str:
    total = hashlib.sha256()
    for name in files:
        try:
            total.update(os.fsencode(name) + f"\0{sha256_of(folder / name)}\n".encode())
        except PermissionError:
            raise UserError(f"{folder / name}: cannot be read: permission denied") from None
    return total.hexdigest()
