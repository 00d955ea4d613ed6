"""Which clips a data set holds, and who speaks in each."""

import csv
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from operator import itemgetter
from pathlib import Path

import numpy as np

from kws.core.errors import UserError
from kws.core.files import csv_rows, require_exists, write_csv
from kws.core.naming import first_names
from kws.core.streams import Repeatable

SPLITS = ("train", "validation", "test")
# Beside validation and test: words that training never hears, said by people whom it never hears
UNHEARD = {"validation": "unheard_validation", "test": "unheard_test"}
HOUSEHOLD = "the household"  # the speaker of all clips that `kws listen --keep` has heard: they count as one person
_LISTED = 40  # words in an error, at most: a data set may have thousands


@dataclass(frozen=True, slots=True)  # there may be millions
class Clip:
    """A recording of one word.

    Attributes:
        name: in the archive.
        word: or a name that begins with `_`: no word.
        speaker: who speaks.
        split: train, validation or test, if the data set says so; else "".
        content: a digest of the sound; equal digests mean the same recording. "": unknown.
        said: the word that is really said, where `word` is no word but the file's name tells it; else "".
    """

    name: str
    word: str
    speaker: str
    split: str = ""
    content: str = ""
    said: str = ""

    @property
    def heard(self) -> bool:
        """Whether `kws listen --keep` has heard it: nobody knows who speaks, so it is for training alone."""
        return self.speaker == HOUSEHOLD

    @property
    def spoken(self) -> str:
        """The word that is said, as far as names tell it."""
        return self.said or self.word


def lot(name: str, salt: str = "") -> bytes:
    """A key for a random order, which depends on a name alone. Another salt, before the name, gives another order."""
    return hashlib.sha256(f"{salt}{name}".encode()).digest()


def read_clips(path: Path) -> Repeatable[Clip]:
    """The clips that the download stage wrote into a file, in its order. They are read anew each time."""
    return Repeatable(lambda: _clips_in(path))


def _clips_in(path: Path) -> Iterator[Clip]:
    with require_exists(path).open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)  # csv.DictReader takes three times as long
        columns = next(rows)
        values = itemgetter(*(columns.index(field.name) for field in fields(Clip)))
        for row in rows:
            yield Clip(*values(row))


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """Writes clips.csv: a line for each clip, with its fields as columns."""
    columns = [field.name for field in fields(Clip)]
    write_csv(path, ({name: getattr(clip, name) for name in columns} for clip in clips), columns)


def speakers_of(manifest: Path, split: str) -> set[str]:
    """Who speaks in a split, by the manifest of the features."""
    return {row["speaker"] for row in csv_rows(manifest) if row["split"] == split}


def words_of(clips: Iterable[Clip]) -> dict[str, int]:
    """How many clips each word has, by word."""
    return dict(sorted(Counter(clip.word for clip in clips).items()))


def require_words(there: Iterable[str], words: Collection[str]) -> None:
    """Checks that a data set has all of some words.

    Args:
        there: the words of its clips, and folders that begin with `_`.
        words: the chosen ones.

    Raises:
        UserError: a word has no clip; the message lists the words that have clips, and those that look alike.
    """
    there = set(there)
    missing = [word for word in words if word not in there]
    if missing:
        others = sorted(word for word in there if not word.startswith("_"))
        if not others:
            raise UserError(
                f"words: the data set has no clip of {', '.join(missing)}, and no folders of words at all: recordings "
                "belong in <word>/<file> or <word>/<speaker>/<file>"
            )
        hints = first_names([word + _hint(word, others) for word in missing], _LISTED)
        raise UserError(f"words: the data set has no clip of {hints}; it has {first_names(others, _LISTED)}")


def copies_in(clips: Iterable[Clip]) -> list[Clip]:
    """The clips whose recording is there more than once, in their order; the clips are read twice.

    They are found by a key of 8 bytes a clip, which is all of it that is in memory. So a clip that is no copy may be
    among them, once in 2**64 pairs.
    """
    keys = np.fromiter((hash(clip.content) for clip in clips if clip.content), np.int64)
    keys.sort()
    twice = set(keys[1:][keys[1:] == keys[:-1]].tolist())
    return [clip for clip in clips if clip.content and hash(clip.content) in twice] if twice else []


def look_alikes(there: Iterable[str], words: Sequence[str]) -> dict[str, str]:
    """Words of a data set that were not chosen, but are written almost as a chosen one: that one, by word."""
    chosen = {loosely(word): word for word in words}
    return {word: chosen[loosely(word)] for word in there if word not in words and loosely(word) in chosen}


def loosely(word: str) -> str:
    """The word in the form that all its spellings share: case, width, spaces, hyphens, underscores, apostrophes."""
    return " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFKC", word).casefold().replace("\u2019", "'"))).strip()


def _hint(word: str, there: Sequence[str]) -> str:
    """Which folder was probably meant by a word that has none; empty where none is like it."""
    alike = [name for name in there if loosely(name) == loosely(word)] or get_close_matches(word, there, n=1)
    if not alike:
        return ""
    if alike[0] != alike[0].strip():
        return f" (rename the folder {alike[0]!r}: it has spaces around the word)"
    return f" (did you mean {alike[0]}?)"


def check_unusable(set_aside: Iterable[tuple[str, str]], clips: int, allowed_share: float, manifest: Path) -> None:
    """Checks that not too many clips were set aside.

    Args:
        set_aside: names of recordings, each with the reason.
        clips: the number of all clips.
        allowed_share: 0 to 1.
        manifest: where all reasons stand.

    Raises:
        UserError: the share is larger; the message gives the most common reasons and the first names.
    """
    kinds: Counter[str] = Counter()
    first: list[str] = []
    for name, reason in set_aside:
        kinds[reason.partition(": ")[0]] += 1
        if len(first) < 10:
            first.append(name)
    if kinds.total() > allowed_share * clips:
        commonest = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(3))
        raise UserError(
            f"{kinds.total()} of {clips} clips are unusable ({commonest}), more than max_unusable_share allows: "
            f"{allowed_share:g}; the first are {', '.join(first)}; {manifest} has them all"
        )
