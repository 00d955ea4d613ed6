"""Which clips a data set holds, and who speaks in each."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from kws.audio.decode import AUDIO_SUFFIXES
from kws.core.errors import UserError
from kws.core.files import read_csv

SPLITS = ("train", "validation", "test")
BACKGROUND = "_background_noise_"
_NOHASH = "_nohash_"


@dataclass(frozen=True)
class Clip:
    """A recording of one word.

    Attributes:
        name: in the archive.
        word: that is said.
        speaker: who says it.
        split: given by the data set: train, validation or test; empty: not given.
        content: a digest of the recording, equal for copies; empty: unknown.
    """

    name: str
    word: str
    speaker: str
    split: str = ""
    content: str = ""


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
    folder, *folders, file = parts
    word = unicodedata.normalize("NFC", folder)  # macOS writes "ü" as two characters
    if _NOHASH in file:
        return Clip(name, word, file.split(_NOHASH)[0])
    return Clip(name, word, folders[0] if folders else "/".join(parts))


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
        UserError: a word has no clip; the message lists the words that have clips.
    """
    clips = list(clips)
    there = words_of(clips)
    missing = [word for word in words if word not in there]
    if missing:
        chosen = [word for word in there if not word.startswith("_")]
        raise UserError(f"words: the data set has no clip of {', '.join(missing)}; it has {', '.join(chosen)}")
    return [clip for clip in clips if clip.word in words]


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
