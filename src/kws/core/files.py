"""Files that appear whole or not at all: written beside their place, then renamed into it."""

import csv
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kws.core.errors import UserError


def _partial(path: Path) -> Path:
    """Where the content of `path` is written first. The suffix stays, since some writers choose the format by it."""
    return path.with_name(f".partial-{path.name}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a path to write a file to, and renames it to `path`. After an error or a kill, `path` is unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    partial.unlink(missing_ok=True)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill. It replaces `path` only if there was no error."""
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder. A kill never leaves a part of it under this name."""
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    path.replace(partial)
    shutil.rmtree(partial)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as JSON; the same content gives the same bytes."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def require_exists(path: Path) -> Path:
    """Returns `path`, which an earlier stage has written.

    Raises:
        UserError: it does not exist.
    """
    if not path.exists():
        raise UserError(f"{path} is not here: run dvc repro, which makes it")
    return path


def read_json(path: Path) -> Any:
    """The content of a JSON file that an earlier stage has written; errors as in `require_exists`."""
    return json.loads(require_exists(path).read_text(encoding="utf-8"))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def csv_writer(path: Path, columns: Sequence[str]) -> Iterator["csv.DictWriter[str]"]:
    """Yields a writer of rows with these columns in this order; the file appears when all are written."""
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        yield writer


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows, with these columns in this order."""
    with csv_writer(path, columns) as writer:
        writer.writerows(rows)


def csv_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file that an earlier stage has written, one at a time; errors as in `require_exists`."""
    with require_exists(path).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file that an earlier stage has written, by column; errors as in `require_exists`."""
    return list(csv_rows(path))
