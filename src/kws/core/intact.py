"""Finds files whose bits have changed on a disk since a stage wrote them: DVC does not look.

DVC takes what lies in its cache for what it put there, and reads no file again whose time and size are the same. So a
bit that flips in the cache would go into training, figures and devices. Here every file that dvc.lock names is read
once after it has appeared, and compared with its MD5 there. A damaged file of the cache is set aside, so that DVC makes
it anew.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import write_json
from kws.core.params import read_yaml

LOCK, PIPELINE = Path("dvc.lock"), Path("dvc.yaml")
READ = Path(".scratch/intact.json")  # of the workspace, since each has its own files
CACHED = re.compile(r"[0-9a-f]{30}(\.dir)?")  # a file in DVC's cache; others are being written
FOLDER = ".dir"  # ends the MD5 of a folder: that of the list of its files


@dataclass(frozen=True)
class Output:
    """An output of a stage, as dvc.lock has it.

    Attributes:
        path: of a file or folder.
        md5: of a file in hex digits, or of a folder, which ends with `.dir`.
        stage: that wrote it.
    """

    path: Path
    md5: str
    stage: str


def require_intact(stage: str) -> None:
    """Reads what the stage depends on, as far as it is new. The last stage, project, depends on everything.

    Raises:
        UserError: a file is not the one that an earlier stage wrote. DVC reads it again in the next `dvc repro`.
    """
    deps = set(read_yaml(PIPELINE)["stages"].get(stage, {}).get("deps", ()))
    needed = (o for o in _outputs() if o.stage != stage and (stage == "project" or o.path.as_posix() in deps))
    digests = _Digests()
    changed = next(
        (output for output in needed if output.path.exists() and digests.of(output.path) != output.md5), None
    )
    digests.keep()
    if changed:
        _distrust(changed.path)
        told = _told(set_aside(_cache(), changed.md5))
        raise UserError(
            f"{changed.path} is not what stage {changed.stage} wrote: its MD5 is not the one in dvc.lock"
            f"{told and f' ({told})'}; type dvc repro, which makes it anew"
        )


def mend() -> list[str]:
    """Reads the outputs of all stages, as far as they are new, before DVC looks at them.

    Where a file differs or is missing, DVC makes it anew, or takes it from its cache. Damaged copies there are set
    aside, so that it makes them anew.

    Returns:
        A line for each output that had damaged copies.
    """
    digests = _Digests()
    others = [one for one in _outputs() if not one.path.exists() or digests.of(one.path) != one.md5]
    digests.keep()
    if not others:
        return []
    cache, lines = _cache(), []
    for output in others:
        if output.path.exists():
            _distrust(output.path)
        if told := _told(set_aside(cache, output.md5)):
            lines.append(f"{output.path}: {told}; DVC makes it anew")
    return lines


def mend_cache() -> tuple[int, list[str], list[str]]:
    """Reads all of DVC's cache. Damaged files are set aside, and replaced where the workspace has them.

    Returns:
        How many files there are; the MD5s of damaged ones that were replaced, and of those that were not.
    """
    digests = _Digests()
    for output in _outputs():
        if output.path.exists():
            digests.of(output.path)
    digests.keep()
    here, replaced, lost = digests.places(), [], []
    files = sorted(place for place in _cache().glob("[0-9a-f][0-9a-f]/*") if CACHED.fullmatch(place.name))
    for place in files:
        md5 = place.parent.name + place.name
        if not _set_aside(place, md5):
            continue
        if md5 in here and md5_of(here[md5]) == md5:  # read anew: it may be a link to the damaged file
            shutil.copyfile(here[md5], place)
            place.chmod(0o444)  # last: DVC reads what may be written to before it uses it
            replaced.append(md5)
        else:
            if md5 in here:
                _distrust(here[md5])
            lost.append(md5)
    return len(files), replaced, lost


def set_aside(cache: Path, md5: str) -> list[str]:
    """Moves damaged copies of an output from DVC's cache to a scratch folder.

    Args:
        cache: the folder of DVC's cache by MD5.
        md5: of a file or a folder.

    Returns:
        The MD5s that the damaged files should have.

    Raises:
        UserError: a file cannot be moved.
    """
    place = cache / md5[:2] / md5[2:]
    if not place.is_file():
        return []
    if _set_aside(place, md5):
        return [md5]
    if not md5.endswith(FOLDER):
        return []
    files = {entry["md5"] for entry in json.loads(place.read_bytes())}
    return [name for name in sorted(files) if _set_aside(cache / name[:2] / name[2:], name)]


def _set_aside(place: Path, md5: str) -> bool:
    """Moves a file of the cache away if it is damaged, and says whether it was."""
    if not place.is_file() or md5_of(place) == md5.removesuffix(FOLDER):
        return False
    try:
        shutil.move(place, paths.scratch("damaged") / md5)
    except PermissionError as error:
        raise UserError(f"{place} is damaged, and cannot be moved away: {error.strerror}; remove it") from None
    return True


def _told(damaged: Sequence[str]) -> str:
    """What became of damaged copies; nothing if there are none."""
    if not damaged:
        return ""
    files = "a damaged copy" if len(damaged) == 1 else f"{len(damaged)} damaged files"
    return f"DVC's cache had {files}, now in {paths.scratch('damaged') / damaged[0]}"


def _distrust(path: Path) -> None:
    """Gives files a new time, so that DVC reads them again; removes them where they are links, such as to the cache."""
    for file in [file for file in path.rglob("*") if not file.is_dir()] if path.is_dir() else [path]:
        if file.is_symlink() or file.stat().st_nlink > 1:
            file.unlink()
        else:
            os.utime(file)


def _outputs() -> Iterator[Output]:
    """The outputs in dvc.lock. Before the first `dvc repro` there are none."""
    if LOCK.exists():
        for stage, content in read_yaml(LOCK).get("stages", {}).items():
            for output in content.get("outs", ()):
                yield Output(Path(output["path"]), output["md5"], stage)


def _cache() -> Path:
    """The folder of DVC's cache by MD5, wherever its configuration has it."""
    from dvc.repo import Repo

    with Repo() as repo:
        return Path(repo.cache.local.path)


class _Digests:
    """The MD5s of files and folders as DVC has them. A file that has not changed since it was read is not read again.

    A disk may damage a file that was read before. That is not found here, as it is not by DVC.
    """

    def __init__(self) -> None:
        self._before: dict[str, list[int | str]] = {}
        with suppress(FileNotFoundError, ValueError):
            self._before = json.loads(READ.read_text())
        self._now: dict[str, list[int | str]] = {}

    def of(self, path: Path) -> str:
        """The MD5 of a file, or of a folder with `.dir` at its end."""
        if not path.is_dir():
            return self._of_file(path)
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".partial-"))
        entries = [{"md5": self._of_file(file), "relpath": file.relative_to(path).as_posix()} for file in files]
        listed = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
        return hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest() + FOLDER

    def places(self) -> dict[str, Path]:
        """Where the files are that were asked for, by MD5."""
        return {str(md5): Path(name) for name, (*_, md5) in self._now.items()}

    def keep(self) -> None:
        """Writes down what was read."""
        if self._now.items() <= self._before.items():
            return
        READ.parent.mkdir(exist_ok=True)
        with FileLock(READ.with_suffix(".lock")):  # two stages may run in a workspace
            write_json(READ, self._before | self._now)

    def _of_file(self, path: Path) -> str:
        name, stat = path.as_posix(), path.stat()
        state = [stat.st_ino, stat.st_ctime_ns, stat.st_size]  # ctime: cp -p and rsync set the other time
        before = self._before.get(name)
        md5 = str(before[-1]) if before and before[:-1] == state else md5_of(path)
        self._now[name] = [*state, md5]
        return md5


def md5_of(path: Path) -> str:
    """The MD5 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
