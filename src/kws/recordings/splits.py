"""Which split each clip belongs to. It needs names, words, speakers and digests of the clips, and no sound.

There may be millions of clips. So functions read them as often as they need them, and hold people, words and copies.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from kws.core.errors import UserError
from kws.core.naming import Names, first_names
from kws.core.streams import Repeatable
from kws.recordings.clips import SPLITS, Clip, copies_in, lot
from kws.recordings.people import PERCENT, arrange, deal, people_of, speaker_split
from kws.recordings.speakers import NOHASH

_NEVER = b"\xff" * 33  # above all lots
# A split without a word gets clips of it from these splits. Who is in training is the last to be tested.
LENDERS = {"train": ("validation", "test"), "test": ("validation", "train"), "validation": ("train", "test")}


SplitOf = Callable[[Clip], str]


@dataclass(frozen=True)
class Splits:
    """Where the clips of a data set belong.

    Attributes:
        split_of: tells the split of a clip: train, validation or test; "": it is left out.
        left_out: why a clip is in no split, by the clip's name.
        remarks: what people should know about these splits, a line each.
    """

    split_of: SplitOf
    left_out: dict[str, str]
    remarks: tuple[str, ...]


def split_clips(
    clips: Iterable[Clip], how: Literal["published", "speaker", "random"], seed: int, needed: Sequence[str] = SPLITS
) -> Splits:
    """The split of each clip.

    Clips with a given split keep it. Copies of a recording are in one split, or are left out. Clips that kws has heard
    (`Clip.heard`) are for training, and all others are split as if those were not there.

    Args:
        clips: in the order of their names.
        how: `published`: each speaker by the published hash (`speaker_split`), also if a word is then out of a split.
            `speaker`: likewise, if all names follow Speech Commands and every word is then in every split. Otherwise
            the fewest people are moved that bring every word into every split. Where too few people say a word, its
            clips are split, and a remark says so.
            `random`: 80/10/10 of each word. The same voices are then in training and test, and the accuracy is too
            good.
        seed: of the random split.
        needed: the splits in which every word must be.
    """
    recorded, copies = _recorded(clips), copies_in(clips)
    if how == "published":
        return _splits(clips, copies, _published(), needed, people_matter=True)
    options, of_people = _options(recorded, needed), list(_recorded(copies))
    if how == "random":
        split_of = _at_random(recorded, of_people, options, seed)
    else:
        split_of = _by_speaker(recorded, of_people, options, needed)
    left_out = _copies_elsewhere(of_people, split_of, needed)
    kept = Repeatable(lambda: (clip for clip in recorded if clip.name not in left_out))
    lent = _lent(kept, of_people, split_of, needed)
    return _splits(clips, copies, _with(lent, split_of), needed, people_matter=how == "speaker")


def fold_clips(clips: Iterable[Clip], fold: int, folds: int) -> Splits:
    """The splits of one fold of a leave-speakers-out cross-validation.

    The speakers are dealt into groups with about as many clips of each word. Group `fold` is the test, the next one
    validation, the others training. With two folds, validation clips are taken from training's people.

    Args:
        clips: in the order of their names. Given splits do not count.
        fold: 1 to folds.
        folds: two or more.

    Raises:
        UserError: there are fewer speakers than folds.
    """
    given = any(clip.split for clip in clips)
    ignored = ["the given splits do not count in a cross-validation"] if given else []
    free = Repeatable(lambda: map(_without_split, clips))
    recorded, copies = _recorded(free), copies_in(free)
    of_people = list(_recorded(copies))
    groups = people_of(recorded, _options(recorded, SPLITS), of_people)
    if len(groups.people) < folds:
        raise UserError(f"fold: {folds} folds need as many speakers, and the data set has {len(groups.people)}")
    split_of_group = {fold: "test"} | ({fold % folds + 1: "validation"} if folds > 2 else {})
    splits = [split_of_group.get(group, "train") for group in deal(groups.people, folds)]

    def split_of(clip: Clip) -> str:
        return splits[groups.number_of(clip)]

    of_others = Repeatable(lambda: (clip for clip in recorded if split_of(clip) != "test"))
    lent = _lent(of_others, of_people, split_of, ("train",) if folds > 2 else ("train", "validation"))
    result = _splits(free, copies, _with(lent, split_of), SPLITS, people_matter=True)
    return Splits(lambda clip: result.split_of(_without_split(clip)), result.left_out, (*ignored, *result.remarks))


def check_splits(
    there: Iterable[tuple[str, str]] | Counter[tuple[str, str]], words: Sequence[str], needed: Sequence[str] = SPLITS
) -> None:
    """Checks that every word has a clip in each split.

    Args:
        there: word and split of each clip, or how many clips there are of each.
        words: each needs a clip in each split.
        needed: these splits.

    Raises:
        UserError: a word has no clip in one of the splits. The message has the number of its clips.
    """
    clips = Counter(there)
    lacking = {word: [split for split in needed if not clips[word, split]] for word in words}
    missing = [
        f"{word} in {' and '.join(splits)} ({_count(sum(clips[word, split] for split in SPLITS), 'recording')} in all)"
        for word, splits in lacking.items()
        if splits
    ]
    if missing:
        raise UserError(
            f"no usable clip of {first_names(missing, 5)}: record more, by as many people as there are splits, "
            "or test by cross-validation, make folds (docs/evaluation.md)"
        )


def _without_split(clip: Clip) -> Clip:
    return replace(clip, split="") if clip.split else clip


def _recorded(clips: Iterable[Clip]) -> Repeatable[Clip]:
    """The clips that people recorded, without those that kws has heard."""
    return Repeatable(lambda: (clip for clip in clips if not clip.heard))


def _with(other: Mapping[str, str], split_of: SplitOf) -> SplitOf:
    """The split of a clip, for some clips another one, by their names."""
    return lambda clip: other.get(clip.name) or split_of(clip)


def _options(clips: Iterable[Clip], needed: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The splits that a clip may be in, by its given one. If given splits lack one of those needed, training shares."""
    of_given = {split: (split,) for split in SPLITS} | {"": tuple(needed)}
    return of_given | {"train": ("train", *_not_given(clips, needed))}


def _not_given(clips: Iterable[Clip], needed: Sequence[str]) -> list[str]:
    """Of a data set that gives a split to each clip: the needed splits that it gives to none."""
    given = {clip.split for clip in clips}
    return [] if not given or "" in given else [split for split in needed if split not in given]


def _by_speaker(
    clips: Iterable[Clip], copies: Sequence[Clip], options: Mapping[str, tuple[str, ...]], needed: Sequence[str]
) -> SplitOf:
    """The first plan in which every word is in every split; if there is none, the one that lacks least."""
    plans = []
    for number, split_of in enumerate(_plans(clips, copies, options, needed)):
        plans.append((_lacking(clips, copies, split_of, needed), number, split_of))
        if not any(plans[-1][0]):
            break
    return min(plans)[2]


def _plans(
    clips: Iterable[Clip], copies: Sequence[Clip], options: Mapping[str, tuple[str, ...]], needed: Sequence[str]
) -> Iterator[SplitOf]:
    if all(NOHASH in clip.name and not clip.split for clip in clips):
        yield _published()
    yield arrange(people_of(clips, options, copies), needed)
    if len({clip.content for clip in copies}) < len(copies):  # too few people: rather leave copies out
        yield arrange(people_of(clips, options), needed)


def _published() -> SplitOf:
    split_of_speaker = cache(speaker_split)
    return lambda clip: split_of_speaker(clip.speaker)


def _lacking(
    clips: Iterable[Clip], copies: Sequence[Clip], split_of: SplitOf, needed: Sequence[str]
) -> tuple[int, int]:
    """How many words lack training or test, and how many validation, without the copies that will be left out."""
    left_out = _copies_elsewhere(copies, split_of, needed)
    words: set[str] = set()
    there: set[tuple[str, str]] = set()
    for clip in clips:
        words.add(clip.word)
        if clip.name not in left_out:
            there.add((clip.word, split_of(clip)))
    splits = [split for word in words for split in needed if (word, split) not in there]
    return len(splits) - splits.count("validation"), splits.count("validation")


@dataclass
class _Word:
    """The clips of a word that are split at random.

    Attributes:
        allowed: the splits that its first clip may be in.
        clips: how many there are.
        copies: how many there are of each recording that is there more than once.
        highest: the highest lots of all other recordings, as many as may be drawn.
        lower: how many of these recordings have lower lots.
    """

    allowed: tuple[str, ...]
    clips: int = 0
    copies: Counter[str] = field(default_factory=Counter)
    highest: list[bytes] = field(default_factory=list)
    lower: int = 0

    def take(self, number: bytes) -> None:
        """Takes the lot of a recording that is there once."""
        if len(self.highest) < sum(_share(split, self.clips) for split in ("test", "validation")):
            heapq.heappush(self.highest, number)
        else:
            heapq.heappushpop(self.highest, number)
            self.lower += 1

    def draw(self, drawn: dict[str, str], seed: int) -> dict[str, bytes]:
        """Draws the recordings of validation and test.

        Args:
            drawn: the splits of the recordings that are there more than once; those of this word are added.
            seed: of the lots.

        Returns:
            The lowest lot that is in a split.
        """
        new = {_lot(recording, seed): recording for recording in self.copies.keys() - drawn.keys()}
        left = sorted([*self.highest, *new])
        lowest = {}
        for split, after in (("test", 2), ("validation", 1)):  # after: splits that also need a recording
            if split not in self.allowed:
                continue
            there = sum(clips for recording, clips in self.copies.items() if drawn.get(recording) == split)
            while there < _share(split, self.clips) and len(left) + self.lower > after:
                lowest[split] = left.pop()
                recording = new.get(lowest[split])
                there += self.copies[recording] if recording else 1
                if recording:
                    drawn[recording] = split
        for recording in new.values():
            drawn.setdefault(recording, "train")
        return lowest


def _at_random(
    clips: Iterable[Clip], copies: Sequence[Clip], options: Mapping[str, tuple[str, ...]], seed: int
) -> SplitOf:
    """Draws validation and test clips of each word, copies together. Given splits stay.

    The recordings of a word with the highest lots are its test, the next ones its validation. So two limits a word tell
    the split of each recording. Copies are drawn once, also if they stand under two words.
    """
    free = Repeatable(lambda: (clip for clip in clips if len(options[clip.split]) > 1))
    copied = {clip.content for clip in copies}
    words: dict[str, _Word] = {}
    for clip in free:
        words.setdefault(clip.word, _Word(options[clip.split])).clips += 1
    for clip in free:
        if clip.content in copied:
            words[clip.word].copies[clip.content] += 1
        else:
            words[clip.word].take(_lot(_recording(clip), seed))
    drawn: dict[str, str] = {}
    lowest = {word: words[word].draw(drawn, seed) for word in sorted(words)}

    def split_of(clip: Clip) -> str:
        if len(options[clip.split]) == 1:
            return options[clip.split][0]
        if clip.content in copied:
            return drawn[clip.content]
        number = _lot(_recording(clip), seed)
        return next(
            (split for split in ("test", "validation") if number >= lowest[clip.word].get(split, _NEVER)), "train"
        )

    return split_of


def _lent(clips: Iterable[Clip], copies: Sequence[Clip], split_of: SplitOf, needed: Sequence[str]) -> dict[str, str]:
    """New splits for clips of the words that still lack a split: too few people say them.

    A split keeps a recording of those that it lends; but it lends its last one to training, without which there is no
    test either. What is given as validation or test is not lent, nor is a recording that stands under two words.

    Args:
        clips: of all words. Those of words that lack a split are held in memory.
        copies: the clips whose recording is there more than once; those that are not among the clips do not count.
        split_of: tells their splits.
        needed: the splits in which every word should be.
    """
    lent: dict[str, str] = {}
    several = _under_two_words(clips, {clip.content for clip in copies})
    there_at_all: set[tuple[str, str]] = set()
    ours = Repeatable(lambda: (clip for clip in clips if clip.content not in several))
    for clip in ours:
        there_at_all.add((clip.word, split_of(clip)))
    lacking = {word for word, _ in there_at_all if any((word, split) not in there_at_all for split in needed)}
    if not lacking:
        return {}
    for members in _by_word(clip for clip in ours if clip.word in lacking).values():
        there: defaultdict[str, set[str]] = defaultdict(set)
        for clip in members:
            there[split_of(clip)].add(_recording(clip))
        fixed = {_recording(clip) for clip in members if clip.split in ("validation", "test")}
        for split, lenders in LENDERS.items():
            if split not in needed or there[split]:
                continue
            able = [lender for lender in lenders if there[lender] - fixed]
            rich = [lender for lender in able if len(there[lender]) > 1]
            for lender in rich[:1] or able[: split == "train"]:
                wanted = min(_share(split, len(members)), max(1, len(there[lender]) - 1))
                there[split] = set(sorted(there[lender] - fixed, key=_lot)[:wanted])
                there[lender] -= there[split]
                lent |= {clip.name: split for clip in members if _recording(clip) in there[split]}
    return lent


def _under_two_words(clips: Iterable[Clip], copied: Collection[str]) -> set[str]:
    """Those of the copied recordings that stand under several words."""
    if not copied:
        return set()
    word_of: dict[str, str] = {}
    here = (clip for clip in clips if clip.content in copied)
    return {clip.content for clip in here if word_of.setdefault(clip.content, clip.word) != clip.word}


def _splits(
    clips: Iterable[Clip],
    copies: Sequence[Clip],
    split_of_recorded: SplitOf,
    needed: Sequence[str],
    *,
    people_matter: bool,
) -> Splits:
    """The result, without the copies, and the remarks on it."""

    def planned(clip: Clip) -> str:
        return "train" if clip.heard else split_of_recorded(clip)

    copies = sorted(copies, key=lambda clip: clip.heard)  # recordings of people first
    left_out = _copies_elsewhere(copies, planned, needed)

    def split_of(clip: Clip) -> str:
        return "" if clip.name in left_out else planned(clip)

    remarks = [*about_copies(copies, left_out), *_about_given(_recorded(clips), planned, needed)]
    if people_matter:
        remarks += _about_people(clips, split_of)
    return Splits(split_of, left_out, tuple(remarks))


def _copies_elsewhere(copies: Sequence[Clip], split_of: SplitOf, needed: Sequence[str]) -> dict[str, str]:
    """Why clips are left out, by name: a copy is in the test, or this clip is in training and a copy in validation."""
    order = {split: number for number, split in enumerate(needed)}
    best: dict[str, Clip] = {}
    for clip in copies:
        if split_of(clip) in order:
            other = best.setdefault(clip.content, clip)
            if order[split_of(clip)] > order[split_of(other)]:
                best[clip.content] = clip
    reasons = {}
    for clip in copies:
        other = best.get(clip.content, clip)
        if split_of(clip) in order and split_of(clip) != split_of(other):
            reasons[clip.name] = f"copy: of {other.name}, which is in {split_of(other)}"
    return reasons


def about_copies(clips: Iterable[Clip], left_out: Mapping[str, str]) -> list[str]:
    """Lines on recordings that are there twice, and on those that stand under two words.

    Args:
        clips: those of `copies_in`.
        left_out: which of them are in no split.
    """
    first: dict[str, Clip] = {}
    copies, mislabelled = [], []
    for clip in clips:
        other = first.setdefault(clip.content, clip)
        if clip is not other:
            copies.append(f"{clip.name} of {other.name}")
        if clip.word != other.word:
            mislabelled.append(f"{other.name} and {clip.name}")
    remarks = []
    if copies:
        verb = "is a copy" if len(copies) == 1 else "are copies"
        fate = (
            f"{len(left_out)} left out, since a copy is in another split"
            if left_out
            else "each in the split of the other"
        )
        remarks.append(f"{_count(len(copies), 'clip')} {verb} of another ({first_names(copies)}): {fate}")
    if mislabelled:
        remarks.append(f"{_count(len(mislabelled), 'recording')} under two words: {first_names(mislabelled)}")
    return remarks


def _about_given(clips: Iterable[Clip], split_of: SplitOf, needed: Sequence[str]) -> list[str]:
    """Lines on splits that the data set gives, but not to all words."""
    lacking = _not_given(clips, needed)
    remarks = [f"no clip is given for {' and '.join(lacking)}: taken from training's clips"] if lacking else []
    moved: defaultdict[str, Names] = defaultdict(Names)
    words: defaultdict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.split in needed and (split := split_of(clip)) not in (clip.split, *lacking):
            moved[split].add(clip.name)
            words[split].add(clip.word)
    for split, names in moved.items():
        remarks.append(
            f"{_count(names.count, 'clip')} of {first_names(sorted(words[split]), 5)} ({names}) "
            f"moved to {split}, for which none is given"
        )
    return remarks


def _about_people(clips: Iterable[Clip], split_of: SplitOf) -> list[str]:
    """A line that says which words have the same people in training and in validation or test, if there are any."""
    heard: defaultdict[str, set[str]] = defaultdict(set)
    for clip in clips:
        heard[split_of(clip)].add(clip.speaker)
    earlier = {"validation": heard["train"], "test": heard["train"] | heard["validation"]}
    number: Counter[str] = Counter()
    words: set[str] = set()
    as_given = True
    if any(heard[split] & people for split, people in earlier.items()):
        for clip in clips:
            split = split_of(clip)
            if clip.speaker in earlier.get(split, ()):
                number[split] += 1
                words.add(clip.word)
                as_given = as_given and clip.split == split
    if not number:
        return []
    shown = " and ".join(_count(number[split], f"{split} clip") for split in SPLITS if number[split])
    where = " and ".join(split for split in SPLITS if number[split])
    cause = "as given" if as_given else "too few people say these words"
    line = f"{shown} of {first_names(sorted(words), 5)} are of people who are in another split, too ({cause})"
    return [f"{line}: the accuracy in {where} is too high for new people"]


def _by_word(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    words: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        words[clip.word].append(clip)
    return dict(sorted(words.items()))


def _recording(clip: Clip) -> str:
    """What copies have in common."""
    return clip.content or clip.name


def _share(split: str, clips: int) -> int:
    """How many of a word's clips are for a split, at least one."""
    return max(1, (clips * PERCENT[split] + 50) // 100)


def _lot(recording: str, seed: int = 0) -> bytes:
    return lot(recording, f"{seed} ")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
