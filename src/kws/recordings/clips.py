"""Which clips a data set holds, who speaks in each, and which split each one belongs to."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from kws.audio.decode import AUDIO_SUFFIXES
from kws.core.errors import UserError
from kws.core.files import read_csv

SPLITS = ("train", "validation", "test")
VALIDATION_PERCENT = 10  # as in Speech Commands and in the original recipe
TEST_PERCENT = 10
BACKGROUND = "_background_noise_"
_MAX_CLIPS_A_CLASS = 2**27 - 1  # the publishers' constant: another one would move speakers between splits
_NOHASH = "_nohash_"
_LISTED = 40  # words in an error, at most: a data set may have thousands


@dataclass(frozen=True)
class Clip:
    """A recording of one word: its name in the archive, the word, and who speaks."""

    name: str
    word: str
    speaker: str


def read_clips(path: Path) -> list[Clip]:
    """The clips whose names the download stage wrote into a file, one a line."""
    return list_clips(path.read_text(encoding="utf-8").splitlines())


def list_clips(names: Iterable[str]) -> list[Clip]:
    """The clips among the file names of an archive or a folder, sorted by name.

    `<word>/<file>` and `<word>/<speaker>/<file>` are understood, with or without a folder around all of them.
    The speaker is the text before `_nohash_` in the file name, else the folder below the word, else the file.
    """
    files = sorted(name for name in names if _is_audio(name))
    parts = {name: [part for part in PurePosixPath(name).parts if part != "."] for name in files}
    around = 0
    while (
        files
        and len({tuple(p[: around + 1]) for p in parts.values()}) == 1
        and min(map(len, parts.values())) > around + 2
    ):
        around += 1
    return [_clip(name, parts[name][around:]) for name in files if len(parts[name]) > around + 1]


def _is_audio(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.parts[0] != "__MACOSX"


def _clip(name: str, parts: Sequence[str]) -> Clip:
    word, *folders, file = [unicodedata.normalize("NFC", part) for part in parts]  # macOS writes "ü" as two characters
    if _NOHASH in file:
        return Clip(name, word, file.split(_NOHASH)[0])
    return Clip(name, word, folders[0] if folders else f"{word}/{file}")


def speakers_of(manifest: Path, split: str) -> set[str]:
    """Who speaks in a split, by the manifest of the features."""
    return {row["speaker"] for row in read_csv(manifest) if row["split"] == split}


def speaker_naming(clips: Sequence[Clip]) -> Literal["nohash names", "folders", "one a file"]:
    """How the speakers of a data set were identified."""
    if all(_NOHASH in clip.name for clip in clips):
        return "nohash names"
    if len({clip.speaker for clip in clips}) < len(clips):
        return "folders"
    return "one a file"


def words_of(clips: Iterable[Clip]) -> dict[str, int]:
    """How many clips each word has, by word."""
    return dict(sorted(Counter(clip.word for clip in clips).items()))


def choose_words(clips: Iterable[Clip], words: Sequence[str]) -> list[Clip]:
    """The clips of the chosen words.

    Raises:
        UserError: a word has no clip; the message lists the words that have clips, and those that look alike.
    """
    clips = list(clips)
    there = words_of(clips)
    missing = [word for word in words if word not in there]
    if missing:
        others = [word for word in there if not word.startswith("_")]
        hints = ", ".join(word + _hint(word, others) for word in missing)
        more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
        raise UserError(f"words: the data set has no clip of {hints}; it has {', '.join(others[:_LISTED])}{more}")
    return [clip for clip in clips if clip.word in words]


def look_alikes(there: Iterable[str], words: Sequence[str]) -> dict[str, str]:
    """Words of a data set that were not chosen, but are written almost as a chosen one: that one, by word."""
    chosen = {_loosely(word): word for word in words}
    return {word: chosen[_loosely(word)] for word in there if word not in words and _loosely(word) in chosen}


def _hint(word: str, there: Sequence[str]) -> str:
    """Which folder was probably meant by a word that has none; empty where none is like it."""
    alike = [name for name in there if _loosely(name) == _loosely(word)] or get_close_matches(word, there, n=1)
    if not alike:
        return ""
    if alike[0] != alike[0].strip():
        return f" (rename the folder {alike[0]!r}: it has spaces around the word)"
    return f" (did you mean {alike[0]}?)"


def _loosely(word: str) -> str:
    """The word in the form that all its spellings share: case, width, spaces, hyphens, underscores, apostrophes."""
    return " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFKC", word).casefold().replace("\u2019", "'"))).strip()


def speaker_split(speaker: str) -> str:
    """The split of a speaker, as the publishers of Speech Commands compute it (Warden, 2018, section 7).

    It depends on the name alone, so a new clip never moves an old one to another split.
    """
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)  # noqa: S324 (the publishers' hash, no secret)
    percent = digest % (_MAX_CLIPS_A_CLASS + 1) * (100 / _MAX_CLIPS_A_CLASS)
    if percent < VALIDATION_PERCENT:
        return "validation"
    return "test" if percent < VALIDATION_PERCENT + TEST_PERCENT else "train"


def split_clips(clips: Sequence[Clip], how: Literal["speaker", "random"], seed: int) -> dict[str, str]:
    """The split of each clip, by its name.

    Args:
        clips: in any order; the result does not depend on it.
        how: `speaker`: nobody is heard in two splits. `random`: shuffled, then 80/10/10 as in the TensorFlow
            tutorial; the same voices are then in training and test, and the accuracy is too good.
        seed: of the shuffle.
    """
    if how == "speaker":
        return {clip.name: speaker_split(clip.speaker) for clip in clips}
    names = sorted(clip.name for clip in clips)
    order = np.random.default_rng(seed).permutation(len(names))
    first_test = len(names) * (100 - TEST_PERCENT) // 100
    first_validation = len(names) * (100 - TEST_PERCENT - VALIDATION_PERCENT) // 100
    split_at = {int(i): "train" for i in order[:first_validation]}
    split_at |= {int(i): "validation" for i in order[first_validation:first_test]}
    split_at |= {int(i): "test" for i in order[first_test:]}
    return {name: split_at[i] for i, name in enumerate(names)}


def check_splits(there: Container[tuple[str, str]], words: Sequence[str], how: str) -> None:
    """Checks that every word has a clip in each split.

    Args:
        there: (word, split) of all clips.
        words: each needs a clip in each split.
        how: the clips were split.

    Raises:
        UserError: a word has no clip in one of the splits.
    """
    missing = [f"{word} in {split}" for word in words for split in SPLITS if (word, split) not in there]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        mend = "add clips of more speakers, or take split=random" if how == "speaker" else "add clips"
        raise UserError(f"no usable clip of {shown}: {mend}")


def check_unusable(reasons: Sequence[str], clips: int, allowed_share: float) -> None:
    """Checks that not too many clips were set aside.

    Args:
        reasons: the reason of each clip that was set aside.
        clips: the number of all clips.
        allowed_share: 0 to 1.

    Raises:
        UserError: the share is larger; the message gives the most common reasons.
    """
    if len(reasons) > allowed_share * clips:
        commonest = ", ".join(f"{count} x {reason}" for reason, count in Counter(reasons).most_common(3))
        raise UserError(
            f"{len(reasons)} of {clips} clips are unusable ({commonest}), "
            f"more than max_unusable_share allows: {allowed_share:g}"
        )
