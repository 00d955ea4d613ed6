"""What a data set's folders say: the word, the speaker and the split of each recording."""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kws.recordings.archive import Contents
from kws.recordings.clips import BACKGROUND, NOHASH, SPLITS, Clip

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
        left_out: recordings that belong to no word, with the reason.
        remarks: what was understood and what looks like a mistake, a line each.
    """

    clips: list[Clip]
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
    names = sorted(contents.recordings)
    paths = {name: [unicodedata.normalize("NFC", part) for part in PurePosixPath(name).parts] for name in names}
    folders = _below_common(list(paths.values()), words)
    shown = "<word>/<file>"

    given: dict[str, str] = {}
    firsts = {path[folders] for path in paths.values() if len(path) > folders + 1}
    splits = {SPLIT_FOLDERS.get(first.lower()) for first in firsts if first not in SPECIAL}
    if splits >= {"train", "test"} and None not in splits and not firsts & set(words):
        for name, path in paths.items():
            if split := SPLIT_FOLDERS.get(path[folders].lower()):
                given[name] = split
                paths[name] = path[:folders] + path[folders + 1 :]
    rest = {name: path[folders:] for name, path in paths.items()}
    outside = {name: "it is in no folder of a word" for name, path in rest.items() if len(path) < 2}
    rest = {name: path for name, path in rest.items() if name not in outside}

    depth_of_word = Counter(
        depth for path in rest.values() for depth in (0, 1) if depth < len(path) - 1 and path[depth] in words
    )
    speaker_first = depth_of_word[1] > 0 and depth_of_word[0] == 0
    tables = _mswc(contents.tables)
    clips = []
    for name, path in rest.items():
        above = speaker_first and len(path) > 2 and not path[0].startswith("_")
        word, *others = path[1:] if above else path
        speaker, split = "/".join(path), given.get(name, "")
        if (key := "/".join(path[-2:])) in tables:
            speaker, split = tables[key]
        elif above:
            speaker = path[0]
        elif NOHASH in path[-1]:
            speaker = path[-1].split(NOHASH)[0]
        elif len(others) > 1:
            speaker = others[0]
        clips.append(Clip(name, word, speaker, split, contents.recordings[name]))

    spoken = [clip for clip in clips if not clip.word.startswith("_")]
    if speaker_first:
        shown = "<speaker>/<word>/<file>"
    elif tables:
        shown = "<word>/<file> of MSWC, speakers and splits from its CSV files"
    elif spoken and all(NOHASH in clip.name for clip in spoken):
        shown = "<word>/<speaker>_nohash_<number>"
    elif len({clip.speaker for clip in spoken}) < len(spoken):
        shown = "<word>/<speaker>/<file>"
    if given:
        shown = f"<split>/{shown}"
    remarks = [f"layout {shown}"]
    if spoken and len({clip.speaker for clip in spoken}) == len(spoken) > 1:
        remarks.append("no name tells who speaks, so each file counts as another speaker; a split by speaker is one by file")
    remarks += _near_misses({clip.word for clip in clips}, words)
    return Layout(clips, outside, tuple(remarks))


def _below_common(paths: list[list[str]], words: Collection[str]) -> int:
    """How many folders stand around all recordings, before the first that can be a word, a speaker or a split."""
    depth = 0
    while (
        paths
        and len({tuple(path[: depth + 1]) for path in paths}) == 1
        and min(map(len, paths)) > depth + 2
        and paths[0][depth] not in words
    ):
        depth += 1
    return depth


def _mswc(tables: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Speaker and split by `<word>/<file>`, from CSV files with the columns LINK, SPEAKER and, for the split, SET."""
    found: dict[str, tuple[str, str]] = {}
    for name, text in sorted(tables.items()):
        reader = csv.DictReader(io.StringIO(text))
        if not {"LINK", "SPEAKER"} <= set(reader.fieldnames or ()):
            continue
        # one file for all splits has the column SET; otherwise the file's name ends in the split
        of_file = SPLIT_FOLDERS.get(PurePosixPath(name).stem.rpartition("_")[2].lower(), "")
        for row in reader:
            link = "/".join(PurePosixPath(unicodedata.normalize("NFC", row["LINK"])).parts[-2:])
            split = SPLIT_FOLDERS.get(str(row.get("SET") or "").lower(), of_file)
            if split or link not in found:
                found[link] = (row["SPEAKER"], split)
    return found


def _near_misses(folders: Collection[str], words: Collection[str]) -> list[str]:
    """Lines on folders that look like those with a meaning of their own."""
    plain = {name.strip("_"): name for name in SPECIAL} | {"noise": BACKGROUND, "background": BACKGROUND}
    return [
        f"the folder {folder!r} is taken for a word; if it is {plain[key]}, rename it"
        for folder in sorted(folders)
        if folder not in SPECIAL and folder not in words and (key := folder.strip("_ ").lower().replace(" ", "_")) in plain
    ]
