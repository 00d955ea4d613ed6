"""Speech that is none of the words: which clips of other words training never hears, and where they come from.

Each of the two splits of `UNHEARD` comes from one place: the data set, the test data set, or computed voices. Stage
download decides where, since computed voices speak there. Stage featurize then chooses the clips.

There may be millions of clips. So functions read them as often as they need them, and hold words, people and the few
clips that are chosen.
"""

import bisect
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

from kws.core.naming import UNKNOWN
from kws.core.params import PUBLISHED, Params
from kws.core.streams import Repeatable
from kws.recordings.clips import UNHEARD, Clip, look_alikes, lot
from kws.recordings.people import speaker_split

Origin = Literal["dataset", "test_dataset", "computed"]

MOST_CLIPS = 2000  # of a split
FEWEST_CLIPS = 20  # of a split that the data set can fill
# Of a data set that is split by people, not by given splits: a tenth of them is in validation, a tenth in the test
FEWEST_IN_ALL, FEWEST_PEOPLE = 10 * FEWEST_CLIPS, 40


def other_words(recordings: Iterable[Clip], tests: Iterable[Clip], params: Params) -> Repeatable[Clip]:
    """The clips of the data set that hold another word than the chosen ones, by which false alarms can be measured.

    Not among them: words of the test data set, folders that are written almost as a chosen word, and what
    `kws listen --keep` has heard.

    Args:
        recordings: of the data set.
        tests: of the test data set, if there is one.
        params: the parameters. With class `_unknown_`, recordings in a folder of this name are for that class, unless
            the names of their files tell the words.
    """
    used = {*params.words, *(clip.word for clip in tests if clip.word != UNKNOWN)}
    used |= look_alikes({clip.word for clip in recordings}, params.words).keys()
    if params.unknown:
        used.add(UNKNOWN)
    return Repeatable(
        lambda: (
            clip
            for clip in recordings
            if (clip.word == UNKNOWN or not clip.word.startswith("_")) and clip.spoken not in used and not clip.heard
        )
    )


def held_out(words: Iterable[str], params: Params) -> list[str]:
    """The other words that training does not hear.

    Without class `_unknown_` these are all. With it they are the share `unheard_words`, drawn by lot. A share above 0
    is at least one word, if there are two. One remains for training.
    """
    words = sorted(set(words))
    if not params.unknown:
        return words
    if not params.unheard_words or len(words) < 2:
        return []
    number = min(len(words) - 1, max(1, round(params.unheard_words * len(words))))
    return sorted(sorted(words, key=_lot)[:number])


def dealt_words(words: Iterable[str], splits: Sequence[str] = tuple(UNHEARD)) -> dict[str, list[str]]:
    """Which words are for which split, by lot. No word is for two splits, but a single word is for all of them.

    Thresholds are chosen on the words of validation. On the same words in the test they would look better than they
    are on others.

    Args:
        words: to be dealt.
        splits: validation, test, or both.
    """
    drawn = sorted(set(words), key=_lot)
    if len(drawn) < len(splits):
        return dict.fromkeys(splits, drawn)
    return {split: sorted(drawn[place :: len(splits)]) for place, split in enumerate(splits)}


def origins_of(recordings: Iterable[Clip], tests: Iterable[Clip], params: Params) -> dict[str, Origin]:
    """Where the clips of each unheard split come from, by the split.

    The test data set is asked first for the test. The data set is asked next: it must have enough clips of the split's
    words by people of the split. Computed voices speak where neither has any.
    """
    others = other_words(recordings, tests, params)
    of_tests = any(True for _ in of_test_data_set(tests, params))
    words_of = dealt_words(
        held_out((clip.spoken for clip in others), params),
        [split for split in UNHEARD if split != "test" or not of_tests],
    )
    origins: dict[str, Origin] = {}
    for split, words in words_of.items():
        said: Iterable[Clip] = (clip for clip in others if clip.spoken in words) if words else ()
        origins[UNHEARD[split]] = "dataset" if _suffice(said, split, params) else "computed"
    return origins | ({UNHEARD["test"]: "test_dataset"} if of_tests else {})


def of_test_data_set(tests: Iterable[Clip], params: Params) -> Repeatable[Clip]:
    """The clips of the test data set that hold other words. Its `_unknown_` is tested as a class where that is on."""
    others = other_words(tests, (), params)
    return Repeatable(lambda: (clip for clip in others if not (params.unknown and clip.word == UNKNOWN)))


def _suffice(others: Iterable[Clip], split: str, params: Params) -> bool:
    """Whether enough of these clips will be in a split, as far as that can be known before the people are split."""
    if params.dataset == "synthetic":  # its few voices of validation and test say few other words
        return False
    if params.dataset in PUBLISHED:
        return sum(speaker_split(clip.speaker) == split for clip in others) >= FEWEST_CLIPS
    given: Counter[str] = Counter()
    people: set[str] = set()
    for clip in others:
        given[clip.split] += 1
        if len(people) < FEWEST_PEOPLE:
            people.add(clip.speaker)
    if given.keys() - {""}:
        return given[split] >= FEWEST_CLIPS
    if split == "test" and params.test_dataset:  # everybody is in training or validation
        return False
    return given.total() >= FEWEST_IN_ALL and len(people) >= FEWEST_PEOPLE


def by_people(
    others: Iterable[Clip],
    splits_of: Mapping[str, Collection[str]],
    words_of: Mapping[str, Collection[str]],
    params: Params,
) -> tuple[dict[str, Repeatable[Clip]], list[str]]:
    """The clips of other words by people who are in validation alone, and by people who are in the test alone.

    Who says no word of the experiment is in no split yet, and is dealt to one: in published sets by the published hash,
    else by lot. With a random split, where everybody is in training, all people are dealt so.

    Args:
        others: clips of words that training does not hear.
        splits_of: the splits in which each speaker is.
        words_of: the words of each split that is wanted: validation, test, or both.
        params: the parameters.

    Returns:
        The clips, by split. A line for each split for which only people say other words who are in another, too.
    """

    def split_of(clip: Clip) -> str:
        splits = set() if params.split == "random" else set(splits_of.get(clip.speaker, ()))
        return _dealt(clip, params) if not splits else splits.pop() if len(splits) == 1 else "train"

    def said_by_people_of(split: str) -> Callable[[Clip], bool]:
        return lambda clip: clip.spoken in words_of[split] and split_of(clip) == split

    belongs = {split: said_by_people_of(split) for split in words_of}
    remarks = []
    for split in [split for split in belongs if not any(map(belongs[split], others))]:
        rest, known = _left_over(split, dict(belongs), splits_of, words_of)
        belongs[split] = known if any(map(known, others)) else rest
        if any(map(rest, others)):
            remarks.append(
                f"other words for {split} are said by people who are in another split, too: false alarms may be too few"
            )
    return {split: Repeatable(partial(filter, belongs[split], others)) for split in belongs}, remarks


def _left_over(
    split: str,
    belongs: Mapping[str, Callable[[Clip], bool]],
    splits_of: Mapping[str, Collection[str]],
    words_of: Mapping[str, Collection[str]],
) -> tuple[Callable[[Clip], bool], Callable[[Clip], bool]]:
    """Tells the clips of a split's words that belong to no split; and those of them by people who are in this one."""

    def rest(clip: Clip) -> bool:
        return clip.spoken in words_of[split] and not any(is_of_another(clip) for is_of_another in belongs.values())

    return rest, lambda clip: rest(clip) and split in splits_of.get(clip.speaker, ())


def _dealt(clip: Clip, params: Params) -> str:
    """The split of somebody who says other words alone."""
    if clip.split:
        return clip.split
    if params.dataset in PUBLISHED:
        return speaker_split(clip.speaker)
    return list(UNHEARD)[_lot(clip.speaker)[0] % len(UNHEARD)]


def some_of_each_word(clips: Iterable[Clip], most: int = MOST_CLIPS) -> list[Clip]:
    """At most so many clips, by lot; as many of each word as of any other, where it has so many.

    The clips are read twice, and hardly more than those that are chosen are in memory.
    """
    there = Counter(clip.spoken for clip in clips)
    enough = min(most, there.total())
    turns = next(n for n in itertools.count() if sum(min(n, number) for number in there.values()) >= enough)
    first: defaultdict[str, list[tuple[bytes, int, Clip]]] = defaultdict(list)  # of each word, by lot
    for number, clip in enumerate(clips):
        drawn = first[clip.spoken]
        bisect.insort(drawn, (_lot(clip.name), number, clip))
        del drawn[turns:]
    by_turn = sorted((turn, *entry) for drawn in first.values() for turn, entry in enumerate(drawn))
    return [clip for *_, clip in by_turn[:most]]


def without_copies(clips: Iterable[Clip], used: Iterable[Clip], copies: Iterable[Clip]) -> Repeatable[Clip]:
    """The clips without copies of each other and of those that are used elsewhere; the first of each stays.

    Args:
        clips: some of all clips.
        used: others.
        copies: those of all clips whose recording is there more than once.
    """
    there_twice = {clip.content for clip in copies}
    elsewhere = {clip.content for clip in used if clip.content in there_twice}

    def kept() -> Iterator[Clip]:
        seen = set(elsewhere)
        for clip in clips:
            if clip.content not in seen:
                yield clip
                seen |= {clip.content} & there_twice

    return Repeatable(kept)


def _lot(name: str) -> bytes:
    return lot(name, "unheard ")
