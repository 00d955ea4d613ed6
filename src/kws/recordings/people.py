"""Who is in which split: nobody in two, every word in each. People are moved from the published hash to that end."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kws.recordings.clips import Clip

PERCENT = {"train": 80, "validation": 10, "test": 10}  # as in Speech Commands and in the original recipe
MOVED_TOGETHER = 3  # people, at most
_MAX_CLIPS_A_CLASS = 2**27 - 1  # the publishers' constant: another one would move speakers between splits

Gap = tuple[str, str]  # a word, and a split that has too few clips of it


def is_named(speaker: str) -> bool:
    """Whether a data set says who speaks; otherwise the path of the file stands for the speaker."""
    return "/" not in speaker


def speaker_split(speaker: str) -> str:
    """The split of a speaker, as the publishers of Speech Commands compute it (Warden, 2018, section 7).

    It depends on the name alone, so a new clip never moves an old one to another split.
    """
    percent = _hash_percent(speaker)
    if percent < PERCENT["validation"]:
        return "validation"
    return "test" if percent < PERCENT["validation"] + PERCENT["test"] else "train"


def _hash_percent(speaker: str) -> float:
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)  # noqa: S324 (the publishers' hash, no secret)
    return digest % (_MAX_CLIPS_A_CLASS + 1) * (100 / _MAX_CLIPS_A_CLASS)


@dataclass(frozen=True)
class People:
    """Clips that stay together: those of one speaker, or of speakers who share a recording.

    Attributes:
        first: the first of their names.
        options: the splits that they may be in.
        words: how many clips they have of each word.
        speakers: their names.
    """

    first: str
    options: tuple[str, ...]
    words: Counter[str] = field(default_factory=Counter)
    speakers: set[str] = field(default_factory=set)

    @cached_property
    def home(self) -> str:
        """The split by the published hash, else the first one allowed."""
        split = speaker_split(self.first)
        return split if split in self.options else self.options[0]


@dataclass(frozen=True)
class Groups:
    """All people who speak, and which of them say a clip.

    Attributes:
        people: in the order of their hash.
        number_of: says which of the people say a clip, from 0.
    """

    people: list[People]
    number_of: Callable[[Clip], int]


def people_of(clips: Iterable[Clip], options: Mapping[str, tuple[str, ...]], copies: Iterable[Clip] = ()) -> Groups:
    """The people who speak. The clips are read twice; people and words are in memory, and no clips.

    Args:
        clips: sorted by name.
        options: the splits that a clip may be in, by its given split. Who has a given split stays in it with all clips.
        copies: of these clips; speakers who share one of them count as one.
    """
    given: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if len(options[clip.split]) == 1:
            given[clip.speaker][options[clip.split][0]] += 1
    first_of = _first_names(clip for clip in copies if clip.speaker not in given)

    def key_of(clip: Clip) -> tuple[str, tuple[str, ...]]:
        allowed = options[clip.split]
        if len(allowed) > 1 and clip.speaker in given:
            allowed = (given[clip.speaker].most_common(1)[0][0],)
        return first_of.get(clip.speaker, clip.speaker), allowed

    together: dict[tuple[str, tuple[str, ...]], People] = {}
    for clip in clips:
        key = key_of(clip)
        one = together.get(key) or together.setdefault(key, People(*key))
        one.words[clip.word] += 1
        one.speakers.add(clip.speaker)
    people = sorted(together.values(), key=lambda one: (_hash_percent(one.first), one.first, one.options))
    numbers = {(one.first, one.options): number for number, one in enumerate(people)}
    return Groups(people, lambda clip: numbers[key_of(clip)])


def _first_names(copies: Iterable[Clip]) -> dict[str, str]:
    """For each speaker the first name among those with whom they share a recording, directly or through others."""
    leader: dict[str, str] = {}
    owner: dict[str, str] = {}

    def first(speaker: str) -> str:
        while leader.setdefault(speaker, speaker) != speaker:
            leader[speaker] = speaker = leader[leader[speaker]]
        return speaker

    for clip in copies:
        low, high = sorted((first(clip.speaker), first(owner.setdefault(clip.content, clip.speaker))))
        leader[high] = low
    return {speaker: first(speaker) for speaker in list(leader)}


def arrange(groups: Groups, needed: Sequence[str]) -> Callable[[Clip], str]:
    """The split of each clip: the published hash, with as few people moved as bring every word everywhere.

    Training also gets half of each word's clips, if it can. Where people do not suffice, a word lacks validation rather
    than training or test.

    Args:
        groups: of the people.
        needed: the splits in which every word should be.
    """
    places = _Places(groups.people, needed)
    while places.improve():
        pass
    places.send_home()
    return lambda clip: places.split_of[groups.number_of(clip)]


class _Places:
    """The split of each of the people, and how good that is as a whole."""

    def __init__(self, people: Sequence[People], needed: Sequence[str]) -> None:
        self._people = people
        self._needed = needed
        self.split_of = [one.home for one in people]
        self._clips: defaultdict[str, Counter[str]] = defaultdict(Counter)  # of a word, by split
        self._sayers: defaultdict[str, list[int]] = defaultdict(list)
        for number, one in enumerate(people):
            for word, clips in one.words.items():
                self._clips[word][one.home] += clips
                self._sayers[word].append(number)
        self._moved = 0
        self._faults = [sum(of_words) for of_words in zip(*map(self._faults_of, self._clips), strict=True)]

    def improve(self) -> bool:
        """Moves the fewest people whose move leaves less to be wished; False if there is no such move."""
        now, gaps = self._rank()[0], [gap for word in self._clips for gap in self._gaps(word)]
        for length in range(1, MOVED_TOGETHER + 1):
            ranked = ((self._rank(), tuple(chain)) for chain in self._chains(gaps, length))
            rank, best = min(ranked, default=((now,), ()))
            if rank[0] < now:
                for number, split in best:
                    self._move(number, split)
                return True
        return False

    def send_home(self) -> None:
        """Moves those back whom another's move made unnecessary."""
        for number, one in enumerate(self._people):
            split, now = self.split_of[number], self._rank()[0]
            if split != one.home:
                self._move(number, one.home)
                if self._rank()[0] > now:
                    self._move(number, split)

    def _chains(self, gaps: Iterable[Gap], length: int) -> Iterator[list[tuple[int, str]]]:
        """Moves that fill a gap, then a gap that this opened, and so on. While a chain is looked at, it is done."""
        moves = {(number, split) for word, split in gaps for number in self._sayers[word]}
        for number, split in sorted(moves):
            one, before = self._people[number], self.split_of[number]
            if split == before or split not in one.options:
                continue
            known = {gap for word in one.words for gap in self._gaps(word)}
            self._move(number, split)
            if length == 1:
                yield [(number, split)]
            else:
                opened = {gap for word in one.words for gap in self._gaps(word)} - known
                for rest in self._chains(opened, length - 1):
                    yield [(number, split), *rest]
            self._move(number, before)

    def _move(self, number: int, split: str) -> None:
        one, before = self._people[number], self.split_of[number]
        for word, clips in one.words.items():
            old = self._faults_of(word)
            self._clips[word][before] -= clips
            self._clips[word][split] += clips
            changes = zip(self._faults, old, self._faults_of(word), strict=True)
            self._faults = [total - was + now for total, was, now in changes]
        self._moved += len(one.speakers) * ((split != one.home) - (before != one.home))
        self.split_of[number] = split

    def _rank(self) -> tuple[list[int], int, int]:
        """The lower the better: what splits lack, people moved, and distance from 80:10:10."""
        return self._faults[:3], self._moved, self._faults[3]

    def _gaps(self, word: str) -> list[Gap]:
        """The splits that lack a word. Training lacks it if it has less than half of the clips."""
        clips = self._clips[word]
        return [(word, one) for one in self._needed if 2 * clips[one] < (clips.total() if one == "train" else 1)]

    def _faults_of(self, word: str) -> tuple[int, int, int, int]:
        """What a word adds: is it out of training or test, out of validation, clips under half, distance in 1/1000."""
        clips = self._clips[word]
        total = clips.total()
        lacks = [split for split in self._needed if not clips[split]]
        far = sum(abs(1000 * clips[split] // total - 10 * percent) for split, percent in PERCENT.items())
        validation = lacks.count("validation")
        return len(lacks) - validation, validation, max(0, total - 2 * clips["train"]), far


def deal(people: Sequence[People], folds: int) -> list[int]:
    """The group of each of the people, 1 to `folds`: about as many clips in each group, of each word and of all.

    Args:
        people: in the order of their hash, at least as many as folds.
        folds: number of groups.
    """
    totals = sum((one.words for one in people), Counter())
    totals[""] = totals.total()  # all words, so that no group remains empty
    loads: list[Counter[str]] = [Counter() for _ in range(folds)]
    group_of: dict[str, int] = {}
    for one in sorted(people, key=lambda one: -one.words.total()):
        own = {word: clips / totals[word] for word, clips in {**one.words, "": one.words.total()}.items()}
        # What the sum of the squares of all loads grows by, divided by two, without what is the same for all groups
        growth = [round(sum(load[word] * share for word, share in own.items()), 9) for load in loads]
        lightest = growth.index(min(growth))
        loads[lightest].update(own)
        group_of[one.first] = lightest + 1
    return [group_of[one.first] for one in people]
