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
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from kws.core.naming import UNKNOWN

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


def read_tables(tables: Mapping[str, str]) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """What CSV files of MSWC, with the columns LINK, SPEAKER and, for the split, SET, say; and those not used.

    Returns:
        Speaker and split, by `<word>/<file>` without the suffix. The reasons, by the name of the CSV file.
    """
    found: dict[str, tuple[str, str]] = {}
    not_used = {}
    for name, text in sorted(tables.items()):
        # one file for all splits has the column SET; otherwise the file's name ends in the split
        of_file = SPLIT_FOLDERS.get(PurePosixPath(name).stem.rpartition("_")[2].lower(), "")
        try:
            reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
            if not {"LINK", "SPEAKER"} <= set(reader.fieldnames or ()):
                not_used[name] = "no table of speakers (columns LINK and SPEAKER)"
                continue
            rows = [row for row in reader if row["LINK"]]
        except csv.Error as error:
            not_used[name] = f"no CSV, perhaps for a quote that is not closed: {error}"
            continue
        for row in rows:
            link = row_of(PurePosixPath(unicodedata.normalize("NFC", row["LINK"])).parts)
            split = SPLIT_FOLDERS.get(str(row.get("SET") or "").lower(), of_file)
            if split or link not in found:
                found[link] = (row["SPEAKER"], split)
    return found, not_used
