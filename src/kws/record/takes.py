"""Which takes are wanted, which are there, and their files: `<word>/<speaker>/<number>.flac`, as the pipeline reads."""

import random
import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import soundfile

from kws.audio.formats import is_hidden, is_sound_file
from kws.core.errors import UserError
from kws.core.files import written_whole
from kws.core.naming import BACKGROUND, HEARD, plain_name
from kws.download.voices.other_words import other_words
from kws.record.checks import NOISE_SECONDS, SAMPLE_RATE, Checked, check_noise, check_take, take_samples
from kws.recordings.clips import loosely

# beside recordings, in a first experiment (docs/own-words.md)
_BESIDE = "computed_voices=60 synthetic_variety=1.0 unknown=5 silence=2"


@dataclass(frozen=True)
class Prompt:
    """What is to be recorded next.

    Attributes:
        word: to say; BACKGROUND: a minute of the room.
        number: of the take, from 1.
        wanted: takes of it, all together.
        samples: that are heard for it, with its countdown.
    """

    word: str
    number: int
    wanted: int
    samples: int


@dataclass(frozen=True)
class Plan:
    """What is wanted of each speaker, and the folder in which it gathers.

    Attributes:
        folder: of the recordings.
        words: in Unicode's form NFC, after `checked`.
        takes: wanted of each word.
        others: other words to read, once each.
        noise: recordings of the room that are wanted, whoever makes them.
        clip_seconds: how long a word may last.
    """

    folder: Path
    words: Sequence[str]
    takes: int
    others: int = 0
    noise: int = 0
    clip_seconds: float = 1.0
    _lock: threading.Lock = field(
        default_factory=threading.Lock, repr=False, init=False
    )  # several phones may record at once

    def checked(self) -> Self:
        """This plan with its words in NFC, if they may be folders of a data set.

        Raises:
            UserError: nothing is wanted, a word is none, comes twice, or stands in the folder in another spelling; or
                there are not so many other words.
        """
        try:
            plain = [plain_name(word) for word in self.words]
        except ValueError as problem:
            raise UserError(str(problem)) from None
        if not (plain or self.others or self.noise):
            raise UserError("nothing to record: give words, --other for other words, or --noise for the room")
        spelled: dict[str, str] = {}
        for word in plain:
            if loosely(word) in spelled:
                raise UserError(f"{word}: given as {spelled[loosely(word)]} before; give each word once")
            spelled[loosely(word)] = word
        for there in _folders(self.folder):
            if (word := spelled.get(loosely(there), there)) != there:
                raise UserError(f"{word}: stands in {self.folder} as {there}; write it as it is there")
        if self.others > len(possible := other_words(plain)):
            raise UserError(f"--other {self.others}: there are {len(possible)} other words, such as {possible[0]}")
        return replace(self, words=plain)

    def todo(self, speaker: str) -> list[Prompt]:
        """What is still to be recorded: the room, then the words in turn, so that nobody says one like a list."""
        length = take_samples(self.clip_seconds)
        noises = range(len(_sounds(self.folder / BACKGROUND)) + 1, self.noise + 1)
        room = [Prompt(BACKGROUND, number, self.noise, NOISE_SECONDS * SAMPLE_RATE) for number in noises]
        there = {word: self._count(word, speaker) for word in self.words}
        rounds = [
            Prompt(word, number, self.takes, length)
            for number in range(1, self.takes + 1)
            for word in self.words
            if number > there[word]
        ]
        others = [Prompt(word, 1, 1, length) for word in self._others(speaker) if not self._count(word, speaker)]
        return room + rounds + others

    def check(self, word: str, samples: np.ndarray) -> Checked:
        """Checks what was heard for a prompt: float32 (samples,), at SAMPLE_RATE."""
        return check_noise(samples) if word == BACKGROUND else check_take(samples, self.clip_seconds)

    def keep(self, word: str, speaker: str, samples: np.ndarray) -> Path:
        """Writes a file with these samples, and returns its path. Other files stay as they are."""
        folder = self.folder / BACKGROUND if word == BACKGROUND else self.folder / word / speaker
        with self._lock:
            numbers = [int(path.stem) for path in _sounds(folder) if path.stem.isdecimal()]
            path = folder / f"{max(numbers, default=0) + 1}.flac"
            with written_whole(path) as partial:
                soundfile.write(partial, samples, SAMPLE_RATE, subtype="PCM_16")
        return path

    def speaker(self, name: str) -> str:
        """The name of a speaker, as it stands in the folder.

        Raises:
            UserError: it is no name, it is a word or the folder of something else, or another spelling of it is there.
        """
        try:
            name = plain_name(name, "name of a speaker")
        except ValueError as problem:
            raise UserError(f"speaker: {problem}") from None
        if name.startswith(HEARD):
            raise UserError(
                f"speaker: {name} begins with {HEARD}, as folders of kws listen --keep do; take another name"
            )
        words = {*self.words, *_folders(self.folder)}
        if loosely(name) in map(loosely, words):
            raise UserError(f"speaker: {name} is a word in {self.folder}, so the pipeline could not tell them apart")
        known = {speaker for word in words for speaker in _folders(self.folder / word)}
        if spelled := [speaker for speaker in known - {name} if loosely(speaker) == loosely(name)]:
            raise UserError(f"speaker: {name} is {spelled[0]} in {self.folder}; write the name as it is there")
        return name

    def summary(self) -> list[str]:
        """A table of the takes by word and speaker, and the command that trains with them."""
        there = _folders(self.folder)
        words = [*self.words, *sorted(set(there) - {*self.words, BACKGROUND})]
        speakers = sorted({speaker for word in words for speaker in _folders(self.folder / word)})
        rows = [["", *speakers]]
        rows += [[word, *(str(self._count(word, speaker)) for speaker in speakers)] for word in words]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([f"{row[0]:{widths[0]}}", *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        noises = len(_sounds(self.folder / BACKGROUND))
        lines.append(f"{self.folder}: takes as above, and {noises} recordings of the room in {BACKGROUND}")
        if self.words:
            folder = f"'{self.folder}'" if " " in str(self.folder) else self.folder  # as `make exp` reads it
            joined = ",".join(self.words)
            settings = f"pretrained=kws dataset={folder} test_dataset= words=[{joined}] {_BESIDE}"
            lines.append(f"next: make exp PRESET=best SET={shlex.quote(settings)}")
        return lines

    def _others(self, speaker: str) -> list[str]:
        """Other words for this speaker: another one reads others, and the same one always these."""
        return random.Random(speaker).sample(other_words(self.words), self.others)  # noqa: S311 (no secret)

    def _count(self, word: str, speaker: str) -> int:
        return len(_sounds(self.folder / word / speaker))


def _folders(path: Path) -> list[str]:
    """The folders in a folder, by name; none if it is not there."""
    return sorted(each.name for each in path.iterdir() if each.is_dir()) if path.is_dir() else []


def _sounds(path: Path) -> list[Path]:
    """The recordings in a folder, as the pipeline counts them; none if it is not there."""
    files = [each for each in path.iterdir() if each.is_file()] if path.is_dir() else []
    return [each for each in files if not is_hidden(each.name) and is_sound_file(each)]
