"""Chooses the clips of an experiment, with class and split of each."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kws.core.errors import UserError
from kws.core.params import SILENCE, UNKNOWN, Params
from kws.recordings.background import NOBODY
from kws.recordings.clips import SPLITS, Clip, check_splits, choose_words, split_clips

UNHEARD = "unheard"  # a fourth split: words that are neither in training nor classes, and should be rejected


@dataclass(frozen=True)
class Chosen:
    """A clip, the class it belongs to, and its split."""

    clip: Clip
    label: str
    split: str


def choose(recordings: Sequence[Clip], test_recordings: Sequence[Clip] | None, params: Params) -> list[Chosen]:
    """The clips of an experiment, in the order of their names.

    Clips of the chosen words are split. If `unknown` is on, clips of other words become the class `_unknown_`. The
    number of its training clips is `unknown` times the average of a word, and that of its validation and test clips is
    the average of a word.

    A test data set is the whole test split. Its speakers are left out of training and validation, and so are its other
    words. Clips of these words are the split `unheard`. The test speakers of the first data set are not used.

    Args:
        recordings: of the data set.
        test_recordings: of the test data set; None: there is none.
        params: the parameters.

    Raises:
        UserError: a word has no clip in one of the splits; or `unknown` is on, and there are no other words.
    """
    words = choose_words(recordings, params.words)
    split_of = split_clips(words, params.split, params.seed)
    chosen = [Chosen(clip, clip.word, split_of[clip.name]) for clip in words]
    if params.unknown:
        kept_away = {clip.word for clip in test_recordings or ()}
        others = [c for c in recordings if not c.word.startswith("_") and c.word not in {*params.words, *kept_away}]
        chosen += _unknown(others, chosen, params)
    if test_recordings is not None:
        tested = {clip.speaker for clip in test_recordings if not clip.word.startswith("_")}
        chosen = [one for one in chosen if one.split != "test" and one.clip.speaker not in tested]
        chosen += _tested(test_recordings, params)
    if params.silence:
        chosen += _silences(chosen, params)
    check_splits({(one.label, one.split) for one in chosen}, params.words, params.split)
    return sorted(_share(chosen, params.train_share), key=lambda one: one.clip.name)


def _unknown(others: Sequence[Clip], words: Sequence[Chosen], params: Params) -> list[Chosen]:
    if not others:
        raise UserError(
            "unknown: the data set has no other words to make _unknown_ of; add a folder of recordings for each of "
            "some, or set it to 0 (one word alone then needs silence above 0)"
        )
    split_of = split_clips(others, params.split, params.seed)
    chosen = []
    for split in SPLITS:
        average = sum(one.split == split for one in words) / len(params.words)
        wanted = max(1, round(average * (params.unknown if split == "train" else 1)))
        there = sorted((clip for clip in others if split_of[clip.name] == split), key=_lot)
        if not there:
            raise UserError(f"unknown: no clip of the data set's other words is for {split}; add some, or set it to 0")
        chosen += [Chosen(clip, UNKNOWN, split) for clip in there[:wanted]]
    return chosen


def _silences(words: Sequence[Chosen], params: Params) -> list[Chosen]:
    chosen: list[Chosen] = []
    tested = any(one.label == SILENCE for one in words)  # a test data set may contain clips of silence
    for split in SPLITS[:2] if tested else SPLITS:
        average = sum(one.split == split and one.label in params.words for one in words) / len(params.words)
        wanted = max(1, round(average * (params.silence if split == "train" else 1)))
        names = [f"{SILENCE}/{split}-{number:05d}" for number in range(wanted)]
        chosen += [Chosen(Clip(name, SILENCE, NOBODY), SILENCE, split) for name in names]
    return chosen


def _tested(recordings: Iterable[Clip], params: Params) -> list[Chosen]:
    chosen = []
    for clip in recordings:
        if clip.word in params.classes:
            chosen.append(Chosen(clip, clip.word, "test"))
        elif params.unknown and not clip.word.startswith("_"):
            chosen.append(Chosen(clip, UNKNOWN, UNHEARD))
    return chosen


def _share(chosen: Iterable[Chosen], share: float) -> list[Chosen]:
    """The other splits, and a share of each class's training clips. A larger share contains a smaller one."""
    classes: defaultdict[str, list[Chosen]] = defaultdict(list)
    kept: list[Chosen] = []
    for one in chosen:
        (classes[one.label] if one.split == "train" else kept).append(one)
    for members in classes.values():
        members.sort(key=lambda one: _lot(one.clip))
        kept += members[: max(1, round(share * len(members)))]
    return kept


def _lot(clip: Clip) -> bytes:
    """A key for a random order that depends only on a clip's name."""
    return hashlib.sha256(clip.name.encode()).digest()
