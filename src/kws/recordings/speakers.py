"""Who speaks, as each published set says it: Speech Commands in the names of files, MSWC in CSV files.

| set | a name, or a row | speaker |
| --- | --- | --- |
| Speech Commands, its mini set, words of its test set | `yes/0c40e715_nohash_0.wav` | `0c40e715` |
| other words of that test set | `_unknown_/backward_0c540988_nohash_0.wav.wav` | `0c540988` |
| Multilingual Spoken Words Corpus | `TRAIN,yes/common_voice_en_1.opus,yes,True,9f31…,FEMALE` | `9f31…` |
"""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

from kws.core.naming import UNKNOWN, Names
from kws.core.tables import Texts, temporary_database

NOHASH = "_nohash_"  # in file names of Speech Commands: before it the speaker, after it a number
_WORD_FIRST = re.compile(rf"([^\W_]+)_([0-9a-f]{{8}}){NOHASH}")
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "devel": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def speaker_in(file: str, folder: str) -> str:
    """Who speaks, by the name of a file that has `_nohash_` in it.

    Args:
        file: its name, without folders.
        folder: the word, or `_unknown_`: there the test set of Speech Commands has the word before the speaker.
    """
    word_first = _WORD_FIRST.match(file) if folder == UNKNOWN else None
    return word_first[2] if word_first else file.partition(NOHASH)[0]


def word_in(file: str, folder: str) -> str:
    """The word that a file in `_unknown_` holds, where its name tells it; else ""."""
    word_first = _WORD_FIRST.match(file) if folder == UNKNOWN else None
    return word_first[1] if word_first else ""


def row_of(path: Sequence[str]) -> str:
    """`<word>/<file>` without the suffix: recordings may have been converted."""
    return "/".join([*path[-2:-1], path[-1].rpartition(".")[0] or path[-1]])


class Rows:
    """What CSV files say of recordings, by `<word>/<file>` without the suffix; in a temporary file."""

    def __init__(self) -> None:
        self._database = temporary_database(
            "CREATE TABLE rows (recording TEXT PRIMARY KEY, speaker TEXT, split TEXT, place INTEGER, here INTEGER)"
            "WITHOUT ROWID;"
        )
        self._rows = 0

    def add(self, recording: str, speaker: str, split: str) -> None:
        """Adds a row. One with a split takes the place of an earlier one of the recording, another does not."""
        self._database.execute(
            "INSERT INTO rows VALUES (?, ?, ?, ?, 0) ON CONFLICT (recording) DO UPDATE "
            "SET speaker = excluded.speaker, split = excluded.split WHERE excluded.split != ''",
            (recording, speaker, split, self._rows),
        )
        self._rows += 1

    def of(self, recording: str) -> tuple[str, str] | None:
        """Speaker and split of a recording that has a row. From now on it counts as one that is here."""
        if not self._rows:
            return None
        found = self._database.execute("SELECT speaker, split, here FROM rows WHERE recording = ?", (recording,))
        for speaker, split, here in found.fetchall():
            if not here:
                self._database.execute("UPDATE rows SET here = 1 WHERE recording = ?", (recording,))
            return speaker, split
        return None

    def not_here(self) -> Names:
        """The recordings that were not asked for."""
        return Names(
            name for (name,) in self._database.execute("SELECT recording FROM rows WHERE NOT here ORDER BY place")
        )

    def __len__(self) -> int:
        [[number]] = self._database.execute("SELECT COUNT(*) FROM rows")
        return int(number)


def read_tables(tables: Texts) -> tuple[Rows, dict[str, str]]:
    """What CSV files of MSWC, with the columns LINK, SPEAKER and, for the split, SET, say; and those not used.

    One file at a time is in memory.

    Returns:
        Speaker and split of recordings. The reasons, by the name of the CSV file.
    """
    found = Rows()
    not_used = {}
    for name, text in tables.rows():
        table = text.encode()
        # one file for all splits has the column SET; otherwise the file's name ends in the split
        of_file = SPLIT_FOLDERS.get(PurePosixPath(name).stem.rpartition("_")[2].lower(), "")
        try:
            if not {"LINK", "SPEAKER"} <= set(_reader(table).fieldnames or ()):
                not_used[name] = "no table of speakers (columns LINK and SPEAKER)"
                continue
            for _ in _reader(table):  # to its end, since none of its rows counts if one is wrong
                pass
        except csv.Error as error:
            not_used[name] = f"no CSV, perhaps for a quote that is not closed: {error}"
            continue
        for row in _reader(table):
            if row["LINK"]:
                link = row_of(PurePosixPath(unicodedata.normalize("NFC", row["LINK"])).parts)
                found.add(link, row["SPEAKER"], SPLIT_FOLDERS.get(str(row.get("SET") or "").lower(), of_file))
    return found, not_used


def _reader(table: bytes) -> "csv.DictReader[str]":
    lines = io.TextIOWrapper(io.BytesIO(table), "utf-8", newline="")  # io.StringIO takes four times the memory
    return csv.DictReader(lines, restval="", strict=True)
