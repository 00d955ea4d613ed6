"""What a data set's folders say: the word, the speaker and the split of each recording."""

import csv
import io
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kws.recordings.archive import Contents
from kws.recordings.clips import BACKGROUND, NOHASH, Clip

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
SPECIAL = ("_unknown_", "_silence_", BACKGROUND)
SHOWN = 3  # names in a remark


@dataclass(frozen=True)
class Layout:
    """The recordings of a data set, and how its folders were read.

    Attributes:
        clips: by name.
        speakers: how they are known: `file names`, `folders`, `table`, or not at all: `one a file`.
        left_out: recordings that belong to no word, with the reason.
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
    speaker. A folder that begins with `_` stands where words stand.

    Args:
        contents: of the archive.
        words: that the experiment uses; they tell a folder of a word from that of a speaker.
    """
    paths = _paths_below_common(contents.recordings, words)
    given = _given_splits(paths, words)
    for name in given:
        paths[name] = paths[name][1:]
    outside = {name: "it is in no folder of a word" for name, path in paths.items() if len(path) < 2}
    inside = {name: path for name, path in paths.items() if name not in outside}
    speaker_first = any(len(path) > 2 and path[1] in words for path in inside.values()) and not any(
        path[0] in words for path in inside.values()
    )
    tables = _mswc(contents.tables)
    clips = []
    for name, path in inside.items():
        if speaker_first and len(path) > 2 and not path[0].startswith("_"):
            word, speaker = path[1], path[0]
        else:
            word, speaker = path[0], _speaker(path)
        speaker, split = tables.get("/".join(path[-2:]), (speaker, given.get(name, "")))
        clips.append(Clip(name, word, speaker, split, contents.recordings[name]))

    spoken = [clip for clip in clips if not clip.word.startswith("_")]
    if tables:
        speakers, shown = "table", "<word>/<file> of MSWC, speakers and splits from its CSV files"
    elif spoken and all(NOHASH in clip.name for clip in spoken):
        speakers, shown = "file names", "<word>/<speaker>_nohash_<number>"
    elif len({clip.speaker for clip in spoken}) < len(spoken):
        speakers, shown = "folders", "<speaker>/<word>/<file>" if speaker_first else "<word>/<speaker>/<file>"
    else:
        speakers, shown = (
            "one a file",
            "<word>/<file>: each file counts as another speaker, since no name says who speaks",
        )
    remarks = [f"layout {'<split>/' if given else ''}{shown}"]
    remarks += _near_misses({clip.word for clip in clips}, words)
    if not any(clip.word == BACKGROUND for clip in clips):
        remarks.append(f"no folder {BACKGROUND}: computed noises stand in for background recordings")
    return Layout(clips, speakers, outside, tuple(remarks))


def _paths_below_common(names: Iterable[str], words: Collection[str]) -> dict[str, list[str]]:
    """The parts of each path, by name, without the folders around all of them; these are no words."""
    paths = {name: [unicodedata.normalize("NFC", part) for part in PurePosixPath(name).parts] for name in sorted(names)}
    while len(firsts := {path[0] for path in paths.values()}) == 1 and not firsts & set(words):
        below = {path[1] for path in paths.values() if len(path) > 2}
        if min(map(len, paths.values())) < 3 and not below & set(words):
            break  # the folder of the only word
        paths = {name: path[1:] for name, path in paths.items()}
    return paths


def _given_splits(paths: Mapping[str, Sequence[str]], words: Collection[str]) -> dict[str, str]:
    """The split by name, if the first folders are those of splits."""
    firsts = {path[0] for path in paths.values() if len(path) > 1 and path[0] not in SPECIAL}
    splits = {SPLIT_FOLDERS.get(first.lower()) for first in firsts}
    if not splits >= {"train", "test"} or None in splits or firsts & set(words):
        return {}
    return {name: SPLIT_FOLDERS[path[0].lower()] for name, path in paths.items() if path[0] in firsts}


def _speaker(path: Sequence[str]) -> str:
    """Who speaks in `<word>/…/<file>`."""
    if NOHASH in path[-1]:
        return path[-1].split(NOHASH)[0]
    return path[1] if len(path) > 2 else "/".join(path)


def _mswc(tables: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Speaker and split by `<word>/<file>`, from CSV files with the columns LINK, SPEAKER and, for the split, SET."""
    found: dict[str, tuple[str, str]] = {}
    for name, text in sorted(tables.items()):
        if not {"LINK", "SPEAKER"} <= set(text.partition("\n")[0].strip("\r").split(",")):
            continue
        # one file for all splits has the column SET; otherwise the file's name ends in the split
        of_file = SPLIT_FOLDERS.get(PurePosixPath(name).stem.rpartition("_")[2].lower(), "")
        for row in csv.DictReader(io.StringIO(text), restval=""):
            link = "/".join(PurePosixPath(unicodedata.normalize("NFC", row["LINK"])).parts[-2:])
            split = SPLIT_FOLDERS.get(str(row.get("SET") or "").lower(), of_file)
            if split or link not in found:
                found[link] = (row["SPEAKER"], split)
    return found


def _near_misses(folders: Collection[str], words: Collection[str]) -> list[str]:
    """Lines on folders that look like those with a meaning of their own, and on those that are not used."""
    plain = {name.strip("_"): name for name in SPECIAL} | {"noise": BACKGROUND, "background": BACKGROUND}
    lines = []
    for folder in sorted({*folders} - {*SPECIAL, *words}):
        key = folder.strip("_ ").lower().replace(" ", "_").replace("-", "_").rstrip("s")
        taken = "is not used, since its name begins with _" if folder.startswith("_") else "is taken for a word"
        if key in plain:
            lines.append(f"the folder {folder!r} {taken}; if it is {plain[key]}, rename it")
        elif folder.startswith("_"):
            lines.append(f"the folder {folder!r} {taken}")
    return lines
