"""What a data set's folders say: the word, the speaker and the split of each recording."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kws.core.naming import BACKGROUND, HEARD, SILENCE, UNKNOWN, first_names
from kws.recordings.archive import Contents
from kws.recordings.clips import HOUSEHOLD, Clip, loosely
from kws.recordings.speakers import NOHASH, SPLIT_FOLDERS, read_tables, row_of, speaker_in, word_in

SPECIAL = (UNKNOWN, SILENCE, BACKGROUND)


@dataclass(frozen=True)
class Layout:
    """The recordings of a data set, and how its folders were read.

    Attributes:
        clips: by name.
        speakers: how they are known: `file names`, `folders`, `table`, or not at all: `one a file`.
        left_out: recordings that belong to no word, and tables that are not used, with the reason.
        remarks: what was understood and what looks like a mistake, a line each.
    """

    clips: list[Clip]
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
    whole = _paths_below_common(contents.recordings, words)
    given = _given_splits(whole, words)
    paths = {name: path[1:] if name in given else path for name, path in whole.items()}
    outside = {name: "it is in no folder of a word" for name, path in paths.items() if len(path) < 2}
    if given:
        outside |= {
            name: "not below train, validation or test"
            for name, path in paths.items()
            if len(path) > 1 and name not in given and not path[0].startswith("_")
        }
    inside = {name: path for name, path in paths.items() if name not in outside}
    rows, not_used = read_tables(contents.tables)
    heard = {name: place for name, path in inside.items() if (place := _word_of_heard(path, words)) is not None}
    speaker_first = _is_speaker_first([path for name, path in inside.items() if name not in heard], words)
    places = {name: _place_of_word(path, words, speaker_first) for name, path in inside.items()} | heard
    named = {name: _speaker(path, places[name]) for name, path in inside.items()}
    clips = []
    for name, path in inside.items():
        speaker, split = rows.get(row_of(path), ("", ""))
        speaker = HOUSEHOLD if name in heard else speaker or named[name] or "/".join(whole[name])
        split = "" if name in heard else split or given.get(name, "")
        word, content = path[places[name]], contents.recordings[name]
        clips.append(Clip(name, word, speaker, split, content, word_in(path[-1], word)))

    spoken = [clip.name for clip in clips if not (clip.word.startswith("_") or clip.heard)]
    listed = {name for name in spoken if row_of(inside[name]) in rows}
    unnamed = [name for name in spoken if not named[name]]
    if listed:
        speakers, shown = "table", "<word>/<file> of MSWC, speakers and splits from its CSV files"
    elif spoken and all(NOHASH in name for name in spoken):
        speakers, shown = "file names", "<word>/<speaker>_nohash_<number>"
    elif len(unnamed) < len(spoken):
        speakers, shown = "folders", "<speaker>/<word>/<file>" if speaker_first else "<word>/<speaker>/<file>"
    else:
        speakers, shown = (
            "one a file",
            "<word>/<file>: each file counts as another speaker, since no name says who speaks",
        )
    remarks = [f"layout {'<split>/' if given else ''}{shown}"]
    remarks += _remarks_on_splits(whole, given, places)
    if listed:
        remarks += _counted([name for name in spoken if name not in listed], spoken, "have no row in the CSV files")
    else:
        odd = [name for name in spoken if (places[name] > 0) != speaker_first]
        other = "<word>/… instead" if speaker_first else "<speaker>/<word>/… instead"
        remarks += _counted(odd, spoken, f"are read as {other}")
        if speakers == "folders":
            remarks += _counted(unnamed, spoken, "name no speaker: each counts as another one")
    called = {named[name] for name in spoken if named[name].lower() in SPLIT_FOLDERS}
    if len({SPLIT_FOLDERS[speaker.lower()] for speaker in called}) > 1:
        remarks.append(f"{first_names(sorted(called))} are taken for speakers; folders of splits stand above the words")
    here = {row_of(path) for path in inside.values()}
    remarks += _counted([row for row in rows if row not in here], rows, "in the CSV files are not here")
    remarks += _one_person_each({named[name] for name in spoken} - {""})
    unused = {whole[name][0] for name in outside if len(whole[name]) > 1 and name not in given}
    remarks += _near_misses({clip.word for clip in clips}, unused, words)
    remarks += _remarks_on_heard_and_background(clips)
    return Layout(clips, speakers, outside | not_used, (*remarks, *contents.remarks))


def _paths_below_common(names: Iterable[str], words: Collection[str]) -> dict[str, list[str]]:
    """The parts of each path, by name, without the folders around all of them; these are no words."""
    paths = {name: [unicodedata.normalize("NFC", part) for part in PurePosixPath(name).parts] for name in sorted(names)}
    alike = {loosely(word) for word in words}
    while len(firsts := {path[0] for path in paths.values() if len(path) > 1}) == 1 and not firsts & set(words):
        below = {path[1] for path in paths.values() if len(path) > 2}
        flat = any(len(path) == 2 for path in paths.values())
        if (flat or loosely(*firsts) in alike) and not below & set(words):
            break  # the folder of the only word
        paths = {name: path[1:] if len(path) > 1 else path for name, path in paths.items()}
    return paths


def _given_splits(paths: Mapping[str, Sequence[str]], words: Collection[str]) -> dict[str, str]:
    """The split by name, if the first folders are those of splits."""
    firsts = {path[0] for path in paths.values() if len(path) > 1}
    splits = {first: SPLIT_FOLDERS[first.lower()] for first in firsts if first.lower() in SPLIT_FOLDERS}
    if firsts & set(words):  # folders of words, some of them called as splits; unless words are below these
        with_words = {path[0] for path in paths.values() if set(path[1:-1]) & set(words)}
        splits = {first: split for first, split in splits.items() if first in with_words}
    if len(set(splits.values())) < 2:
        return {}
    return {name: splits[path[0]] for name, path in paths.items() if len(path) > 1 and path[0] in splits}


def _word_of_heard(path: Sequence[str], words: Collection[str]) -> int | None:
    """Which folder is the word, if `kws listen --keep` has heard a recording: then the next one says so. Else None."""
    known = _known_words(path, words)
    place = known[0] if len(known) == 1 else len(path) - 3
    below = path[place + 1 : -1]
    return place if place >= 0 and below and below[0].startswith(HEARD) and below[0] not in words else None


def _is_speaker_first(paths: Iterable[Sequence[str]], words: Collection[str]) -> bool:
    """Whether most of the words, spelled in any way, have another folder above them."""
    alike = {loosely(word) for word in words}
    paths = [path for path in paths if not path[0].startswith("_")]
    like_words = {folder for path in paths for folder in path[:-1] if loosely(folder) in alike}
    places = [[place for place, folder in enumerate(path[:-1]) if folder in like_words] for path in paths]
    above = [found[0] > 0 for found in places if len(found) == 1]
    return 2 * sum(above) > len(above)


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


def _remarks_on_splits(
    paths: Mapping[str, Sequence[str]], given: Mapping[str, str], places: Mapping[str, int]
) -> list[str]:
    """Which folders are taken for splits, and which are not, though they are called so."""
    folders = sorted({f"{paths[name][0]}/ is {split}" for name, split in given.items()})
    lines = [f"splits as given: {', '.join(folders)}"] if given else []
    above = {name: paths[name][name in given :][:place] for name, place in places.items()}
    called = sorted({folder for path in above.values() for folder in path if folder.lower() in SPLIT_FOLDERS})
    return lines + [
        f"the folder {folder!r} is taken neither for a split, since no other split is beside it, nor for a speaker"
        for folder in called
    ]


def _remarks_on_heard_and_background(clips: Sequence[Clip]) -> list[str]:
    """Lines on what `kws listen --keep` has heard, and on background recordings that are missing."""
    lines = []
    if heard := sum(clip.heard for clip in clips):
        lines.append(
            f"{heard} recordings in folders {HEARD}… are what kws listen --keep has heard: for training alone. If "
            "people of validation or test are among those who spoke, the accuracy there is too high for new people"
        )
    if not any(clip.word == BACKGROUND and not clip.heard for clip in clips):
        lines.append(f"no folder {BACKGROUND}: computed noises stand in for background recordings")
    return lines


def _counted(some: Sequence[str], every: Sized, what: str) -> list[str]:
    """A line that says how many, and the first names; none if there are none."""
    return [f"{len(some):,} of {len(every):,} recordings {what}: {first_names(some)}"] if some else []


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
