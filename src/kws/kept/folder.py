"""The folder of `kws listen --keep`: sounds, and kept.csv with a row for each of them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import soundfile

from kws.core.errors import UserError
from kws.core.files import write_csv, written_whole
from kws.core.naming import BACKGROUND, HEARD, UNKNOWN, first_names, plain_name

try:
    import fcntl
except ImportError:
    raise UserError("kws listen --keep and kws review need Linux or macOS: this system cannot lock a file") from None

TABLE = "kept.csv"
BETWEEN = ", "  # words; no word holds a comma
_LOCK = ".lock"
_NAME = re.compile(r"[0-9]+\.flac")  # of a sound, and of its recording


@dataclass(frozen=True)
class Kept:
    """A stretch of sound that was kept: a row of kept.csv.

    Attributes:
        file: its name in the folder.
        time: when it was heard, in local time, as 2026-05-31T18:04:09.
        word: what the model took it for.
        score: of this word, by the rule of detection.
        threshold: from which on a word was detected.
        model: the first 16 hex digits of the SHA-256 of the model's file.
        words: that the model tells, with `BETWEEN` between them.
        fired: `yes`: the word was detected; `no`: nearly.
        start: when the clip that the model heard starts in the file, in seconds.
        seconds: the length of this clip; the rest of the file is there for people who listen.
        answer: what people say that it is: a word, `_unknown_` (another word), `_background_noise_` (no speech); "":
            nobody has answered.
        recording: what `kws review --to` has made of it: the path of a recording, from this folder; "": nothing yet.
    """

    file: str
    time: str
    word: str
    score: float
    threshold: float
    model: str
    words: str
    fired: str
    start: float
    seconds: float
    answer: str = ""
    recording: str = ""


_COLUMNS = [field.name for field in fields(Kept)]


class KeptFolder:
    """A folder of kept sounds. Several programs may use it at once: each change locks it for a moment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[Kept]:
        """All rows, the oldest first.

        Raises:
            UserError: there is no kept.csv, or it is not as `kws listen --keep` writes it.
        """
        table = self.path / TABLE
        if not table.is_file():
            raise UserError(f"{self.path}: no {TABLE} in it; kws listen --keep {self.path} makes such a folder")
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != _COLUMNS:
                raise UserError(f"{table}: its columns are not {', '.join(_COLUMNS)}")
            rows = [self._row(table, number, row) for number, row in enumerate(reader, 2)]
        if twice := [name for name, count in Counter(row.file for row in rows).items() if count > 1]:
            raise UserError(f"{table}: {first_names(twice)} has more than one row; keep one of them")
        return rows

    def add(self, sound: np.ndarray, sample_rate: int, kept: Kept, most: int) -> int:
        """Writes a sound and its row, then drops the oldest rows without an answer, until `most` of them are left.

        Where the answer was taken back, the row stays until its recording is removed, too.

        Args:
            sound: float32 (samples,), full scale = 1.
            sample_rate: in Hz.
            kept: the row; the name of its file is given here.
            most: rows without an answer.

        Returns:
            How many were dropped.

        Raises:
            UserError: the folder cannot be written to, or has another kept.csv.
        """
        content = flac(sound, sample_rate)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._locked():
                rows = self.rows() if (self.path / TABLE).exists() else []
                name = f"{next_number(self.path, (row.file for row in rows))}.flac"
                with written_whole(self.path / name) as file:
                    file.write_bytes(content)
                rows.append(replace(kept, file=name))
                unanswered = [row for row in rows if not (row.answer or row.recording)]
                dropped = {row.file for row in unanswered[: max(0, len(unanswered) - most)]}
                self._write([row for row in rows if row.file not in dropped])
                for file_name in dropped:
                    (self.path / file_name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from None
        return len(dropped)

    def set_answer(self, file: str, answer: str) -> None:
        """Writes what people say of a sound; "" takes their answer back. Errors as in `set_recording`."""
        self._change(file, answer=answer)

    def set_recording(self, file: str, recording: str) -> None:
        """Writes which recording was made of a sound; "": none is there any more.

        Raises:
            KeyError: no row has this file.
            UserError: kept.csv cannot be read or written.
        """
        self._change(file, recording=recording)

    def _change(self, file: str, **changes: Any) -> None:
        try:
            with self._locked():
                rows = self.rows()
                if file not in {row.file for row in rows}:
                    raise KeyError(file)
                self._write([replace(row, **changes) if row.file == file else row for row in rows])
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other programs from changing the folder. The lock ends with the program, even if that is killed."""
        with (self.path / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, rows: Sequence[Kept]) -> None:
        write_csv(self.path / TABLE, map(vars, rows), _COLUMNS)

    def _row(self, table: Path, number: int, row: dict[str, str]) -> Kept:
        try:
            numbers = {name: float(row[name]) for name in ("score", "threshold", "start", "seconds")}
            kept = Kept(**{**row, **numbers})  # type: ignore[arg-type]  # all others are text
            _check(kept)
        except (TypeError, ValueError) as error:
            raise UserError(f"{table}: line {number} is not as kws listen --keep writes it: {error}") from None
        return kept


def _check(kept: Kept) -> None:
    """Checks what becomes the path of a file that is written or removed: somebody else may have made the table.

    Raises:
        ValueError: something leads elsewhere.
    """
    datetime.fromisoformat(kept.time)
    place = PurePath(kept.recording).parts[-3:]
    answers = [answer for answer in (kept.answer, *place[:1]) if answer not in ("", UNKNOWN, BACKGROUND)]
    for word in (kept.word, *kept.words.split(BETWEEN), *answers):
        plain_name(word)
    if not _NAME.fullmatch(kept.file):
        raise ValueError(f"{kept.file!r} is no name of a sound in this folder")
    if place and not (len(place) == 3 and place[1].startswith(HEARD) and _NAME.fullmatch(place[2])):
        raise ValueError(f"{kept.recording!r} is no recording of a sound that was heard")


def flac(sound: np.ndarray, sample_rate: int) -> bytes:
    """A FLAC file of 16 bits.

    Args:
        sound: float32 (samples,), full scale = 1.
        sample_rate: in Hz.
    """
    content = io.BytesIO()
    soundfile.write(content, sound, sample_rate, format="FLAC", subtype="PCM_16")
    return content.getvalue()


def next_number(folder: Path, names: Iterable[str]) -> int:
    """The number after the highest one that names a FLAC file in a folder, or is among more names; 1 if there is none.

    Args:
        folder: may be missing.
        names: of files that are, or were, in this folder.
    """
    found = [PurePath(name) for name in (*names, *(path.name for path in folder.glob("*.flac")))]
    return 1 + max((int(path.stem) for path in found if _NAME.fullmatch(path.name)), default=0)
