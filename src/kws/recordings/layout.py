"""What a data set's folders say: the word, the speaker and the split of each recording."""

import itertools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from kws.core.naming import BACKGROUND, HEARD, SILENCE, UNKNOWN, Names, first_names
from kws.core.streams import Repeatable
from kws.core.tables import Texts
from kws.recordings.archive import Contents
from kws.recordings.clips import HOUSEHOLD, Clip, loosely
from kws.recordings.speakers import NOHASH, SPLIT_FOLDERS, read_tables, row_of, speaker_in, word_in

SPECIAL = (UNKNOWN, SILENCE, BACKGROUND)


@dataclass(frozen=True)
class Layout:
    """The recordings of a data set, and how its folders were read.

    Attributes:
        clips: in the order of their names.
        words: how many clips each word has, and each folder that begins with `_`.
        speakers: how they are known: `file names`, `folders`, `table`, or not at all: `one a file`.
        left_out: recordings that belong to no word, and tables that are not used, with the reason.
        remarks: what was understood and what looks like a mistake, a line each.
    """

    clips: Iterable[Clip]
    words: dict[str, int]
    speakers: str
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def understand(contents: Contents, words: Collection[str]) -> Layout:
    """Reads the layout of a data set.

    Understood, with or without folders around all of it: `<word>/<file>`, `<word>/<speaker>/<file>`,
    `<speaker>/<word>/<file>`, each of them below `train/`, `validation/` and `test/`, and the Multilingual Spoken Words
    Corpus (MSWC; Mazumder et al., 2021: `<word>/<file>`, and CSV files with speakers and splits). Speech Commands
    (Warden, 2018) has the speaker before `_nohash_` in the file name. Without any of these each file is its own
    speaker. A folder that begins with `_` stands where words stand. A folder that begins with `heard-`, right below
    the word, holds what `kws listen --keep` has heard.

    Args:
        contents: of the archive.
        words: that the experiment uses; they tell a folder of a word from that of a speaker.
    """
    words = set(words)
    names = _Names(contents.recordings, words)
    speaker_first = _is_speaker_first(lambda: (one.path for one in names.inside() if one.heard is None), words)
    rows, not_used = read_tables(contents.tables)

    def clips() -> Iterator[tuple[_Name, _Read, Clip]]:
        for one in names.inside():
            place = _place_of_word(one.path, words, speaker_first) if one.heard is None else one.heard
            read = _Read(place, _speaker(one.path, place), rows.of(row_of(one.path)))
            yield one, read, _clip(one, read)

    seen = _Seen()
    for one, read, clip in clips():
        seen.add(one, read, clip, speaker_first=speaker_first)
    how, shown = seen.speakers(speaker_first=speaker_first)
    remarks = [f"layout {'<split>/' if names.split_of_folder else ''}{shown}", *seen.remarks_on_splits()]
    remarks += seen.remarks_on_speakers(how, speaker_first=speaker_first)
    remarks += _counted(rows.not_here(), len(rows), "in the CSV files are not here")
    remarks += _one_person_each(seen.named)
    remarks += _near_misses(seen.words, names.unused, words)
    remarks += seen.remarks_on_heard_and_background()
    made_anew = Repeatable(lambda: (clip for _, _, clip in clips()))
    return Layout(made_anew, dict(seen.words), how, names.outside | not_used, (*remarks, *contents.remarks))


def _clip(one: "_Name", read: "_Read") -> Clip:
    """The clip of a recording."""
    word = one.path[read.place]
    said = word_in(one.path[-1], word)
    if one.heard is not None:
        return Clip(one.name, word, HOUSEHOLD, "", one.content, said)
    speaker, split = read.row or ("", "")
    return Clip(one.name, word, speaker or read.speaker or "/".join(one.whole), split or one.split, one.content, said)


@dataclass(frozen=True, slots=True)
class _Name:
    """The name of a recording, as folders.

    Attributes:
        name: in the archive.
        whole: its parts, without the folders around all recordings.
        split: that the first folder gives, or "".
        path: the parts below that.
        heard: which of these is the word, if `kws listen --keep` has heard it; else None.
        content: a digest of the sound.
    """

    name: str
    whole: list[str]
    split: str
    path: list[str]
    heard: int | None
    content: str


@dataclass(frozen=True, slots=True)
class _Read:
    """How a name is read.

    Attributes:
        place: which folder is the word.
        speaker: as the folders and the file's name say; "": nobody is named.
        row: speaker and split by a CSV file, if one has the recording.
    """

    place: int
    speaker: str
    row: tuple[str, str] | None


class _Names:
    """The names of all recordings. Their folders are read anew each time: names may be millions.

    Attributes:
        split_of_folder: the split of each first folder, if these are folders of splits.
        outside: recordings that belong to no word, with the reason.
        unused: the first folders of these.
    """

    def __init__(self, recordings: Texts, words: Collection[str]) -> None:
        self._recordings, self._words = recordings, words
        self._common = _common_folders(recordings, words)
        self.split_of_folder = _given_splits((_path(name, self._common) for name in recordings), words)
        self.outside: dict[str, str] = {}
        self.unused: set[str] = set()
        for one in self._all():
            if len(one.path) < 2:
                self.outside[one.name] = "it is in no folder of a word"
            elif self.split_of_folder and not (one.split or one.path[0].startswith("_")):
                self.outside[one.name] = "not below train, validation or test"
            if one.name in self.outside and len(one.whole) > 1 and not one.split:
                self.unused.add(one.whole[0])

    def _all(self) -> Iterator[_Name]:
        for name, content in self._recordings.rows():
            whole = _path(name, self._common)
            split = self.split_of_folder.get(whole[0], "") if len(whole) > 1 else ""
            path = whole[1:] if split else whole
            yield _Name(name, whole, split, path, _word_of_heard(path, self._words), content)

    def inside(self) -> Iterator[_Name]:
        """Those that are in the folder of a word."""
        return (one for one in self._all() if one.name not in self.outside)


class _Seen:
    """What was seen of the recordings of words, name by name."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.spoken = self.listed = self.heard = 0
        self.all_nohash, self.background = True, False
        self.unlisted, self.unnamed, self.odd = Names(), Names(), Names()
        self.named: set[str] = set()
        self.folders_of_splits: set[str] = set()
        self.folders_called_splits: set[str] = set()

    def add(self, one: _Name, read: _Read, clip: Clip, *, speaker_first: bool) -> None:
        """Takes a recording."""
        self.words[clip.word] += 1
        self.heard += clip.heard
        self.background = self.background or (clip.word == BACKGROUND and not clip.heard)
        if one.split:
            self.folders_of_splits.add(f"{one.whole[0]}/ is {one.split}")
        self.folders_called_splits |= {folder for folder in one.path[: read.place] if folder.lower() in SPLIT_FOLDERS}
        if clip.word.startswith("_") or one.heard is not None:
            return
        self.spoken += 1
        self.listed += read.row is not None
        self.all_nohash = self.all_nohash and NOHASH in one.name
        if read.row is None:
            self.unlisted.add(one.name)
        if (read.place > 0) != speaker_first:
            self.odd.add(one.name)
        if read.speaker:
            self.named.add(read.speaker)
        else:
            self.unnamed.add(one.name)

    def speakers(self, *, speaker_first: bool) -> tuple[str, str]:
        """How the speakers are known, as in `Layout`, and how the names are read."""
        if self.listed:
            return "table", "<word>/<file> of MSWC, speakers and splits from its CSV files"
        if self.spoken and self.all_nohash:
            return "file names", "<word>/<speaker>_nohash_<number>"
        if self.unnamed.count < self.spoken:
            return "folders", "<speaker>/<word>/<file>" if speaker_first else "<word>/<speaker>/<file>"
        return "one a file", "<word>/<file>: each file counts as another speaker, since no name says who speaks"

    def remarks_on_splits(self) -> list[str]:
        """Which folders are taken for splits, and which are not, though they are called so."""
        folders = ", ".join(sorted(self.folders_of_splits))
        return ([f"splits as given: {folders}"] if folders else []) + [
            f"the folder {folder!r} is taken neither for a split, since no other split is beside it, nor for a speaker"
            for folder in sorted(self.folders_called_splits)
        ]

    def remarks_on_speakers(self, how: str, *, speaker_first: bool) -> list[str]:
        """Lines on recordings that lie otherwise than most, and on those of which nobody knows who speaks."""
        if how == "table":
            lines = _counted(self.unlisted, self.spoken, "have no row in the CSV files")
        else:
            other = "<word>/… instead" if speaker_first else "<speaker>/<word>/… instead"
            lines = _counted(self.odd, self.spoken, f"are read as {other}")
        if how == "folders":
            lines += _counted(self.unnamed, self.spoken, "name no speaker: each counts as another one")
        called = {speaker for speaker in self.named if speaker.lower() in SPLIT_FOLDERS}
        if len({SPLIT_FOLDERS[speaker.lower()] for speaker in called}) > 1:
            lines.append(
                f"{first_names(sorted(called))} are taken for speakers; folders of splits stand above the words"
            )
        return lines

    def remarks_on_heard_and_background(self) -> list[str]:
        """Lines on what `kws listen --keep` has heard, and on background recordings that are missing."""
        lines = []
        if self.heard:
            lines.append(
                f"{self.heard} recordings in folders {HEARD}… are what kws listen --keep has heard: for training "
                "alone. If people of validation or test are among those who spoke, the accuracy there is too high for "
                "new people"
            )
        if not self.background:
            lines.append(f"no folder {BACKGROUND}: computed noises stand in for background recordings")
        return lines


def _path(name: str, common: int) -> list[str]:
    """The parts of a path, without the folders around all of them. Made anew where it is needed: names are many."""
    parts = unicodedata.normalize("NFC", name).split("/")
    return parts[min(common, len(parts) - 1) :]


def _common_folders(names: Iterable[str], words: Collection[str]) -> int:
    """How many folders are around all recordings; these are no words."""
    alike = {loosely(word) for word in words}
    for common in itertools.count():
        firsts, below, flat = set(), set(), False
        for path in (_path(name, common) for name in names):
            firsts |= {path[0]} if len(path) > 1 else set()
            below |= {path[1]} if len(path) > 2 else set()
            flat = flat or len(path) == 2
            if len(firsts) > 1:
                return common
        if not firsts or firsts & set(words):
            return common
        if (flat or loosely(*firsts) in alike) and not below & set(words):
            return common  # the folder of the only word
    raise AssertionError


def _given_splits(paths: Iterable[Sequence[str]], words: Collection[str]) -> dict[str, str]:
    """The split of each first folder, if the first folders are those of splits."""
    firsts: set[str] = set()
    with_words: set[str] = set()
    for path in paths:
        if len(path) > 1:
            firsts.add(path[0])
            if any(folder in words for folder in path[1:-1]):
                with_words.add(path[0])
    splits = {first: SPLIT_FOLDERS[first.lower()] for first in firsts if first.lower() in SPLIT_FOLDERS}
    if firsts & set(words):  # folders of words, some of them called as splits; unless words are below these
        splits = {first: split for first, split in splits.items() if first in with_words}
    return splits if len(set(splits.values())) > 1 else {}


def _word_of_heard(path: Sequence[str], words: Collection[str]) -> int | None:
    """Which folder is the word, if `kws listen --keep` has heard a recording: then the next one says so. Else None."""
    known = _known_words(path, words)
    place = known[0] if len(known) == 1 else len(path) - 3
    below = path[place + 1 : -1]
    return place if place >= 0 and below and below[0].startswith(HEARD) and below[0] not in words else None


def _is_speaker_first(paths: Callable[[], Iterable[Sequence[str]]], words: Collection[str]) -> bool:
    """Whether most of the words, spelled in any way, have another folder above them; `paths` gives all, each time."""
    alike = {loosely(word) for word in words}
    folders = {folder for path in paths() if not path[0].startswith("_") for folder in path[:-1]}
    like_words = {folder for folder in folders if loosely(folder) in alike}
    above = known = 0
    for path in paths():
        found = [place for place, folder in enumerate(path[:-1]) if folder in like_words]
        if len(found) == 1 and not path[0].startswith("_"):
            known += 1
            above += found[0] > 0
    return 2 * above > known


def _place_of_word(path: Sequence[str], words: Collection[str], speaker_first: bool) -> int:
    """Which folder is the word: the only one that is a word of the experiment, else as most are."""
    known = _known_words(path, words)
    if path[0].startswith("_"):
        return 0
    if len(known) == 1:
        return known[0]
    return int(speaker_first and len(path) > 2)


def _known_words(path: Sequence[str], words: Collection[str]) -> list[int]:
    """Which folders are words of the experiment, or have a meaning of their own."""
    return [place for place, folder in enumerate(path[:-1]) if folder in words or folder in SPECIAL]


def _speaker(path: Sequence[str], place: int) -> str:
    """Who speaks, by the folders above and below the word and the name of the file; "": nobody is named."""
    above = [folder for folder in path[:place] if folder.lower() not in SPLIT_FOLDERS]
    if above:
        return above[0]
    if NOHASH in path[-1]:
        return speaker_in(path[-1], path[place])
    return path[place + 1] if len(path) > place + 2 else ""


def _counted(some: Names, every: int, what: str) -> list[str]:
    """A line that says how many, and the first names; none if there are none."""
    return [f"{some.count:,} of {every:,} recordings {what}: {some}"] if some.count else []


def _one_person_each(speakers: Collection[str]) -> list[str]:
    """A line on speakers whose names differ in case, spaces or accents only."""
    alike = defaultdict(list)
    for speaker in sorted(speakers):
        letters = unicodedata.normalize("NFKD", loosely(speaker))
        alike["".join(letter for letter in letters if not unicodedata.combining(letter))].append(speaker)
    groups = [" and ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    if not groups:
        return []
    return [f"speakers who may be one person each, but count as several: {first_names(groups)}"]


def _near_misses(folders: Collection[str], unused: Collection[str], words: Collection[str]) -> list[str]:
    """Lines on folders that look like those with a meaning of their own, and on those that are not used."""
    plain = {name.strip("_"): name for name in SPECIAL} | {"noise": BACKGROUND, "background": BACKGROUND}
    lines = []
    for folder in sorted({*folders, *unused} - {*SPECIAL, *words}):
        key = folder.strip("_ ").lower().replace(" ", "_").replace("-", "_").rstrip("s")
        taken = "is not used, since its name begins with _" if folder.startswith("_") else "is taken for a word"
        if folder in unused:
            taken = "is not used"
        if key in plain:
            lines.append(f"the folder {folder!r} {taken}; if it is {plain[key]}, rename it")
        elif folder.startswith("_"):
            lines.append(f"the folder {folder!r} {taken}")
    return lines
