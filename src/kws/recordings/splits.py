"""Which split each clip belongs to. It needs names, words, speakers and digests of the clips, and no sound."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kws.core.errors import UserError
from kws.core.naming import first_names
from kws.recordings.clips import SPLITS, Clip, lot
from kws.recordings.people import PERCENT, arrange, deal, people_of, speaker_split
from kws.recordings.speakers import NOHASH

# A split without a word gets clips of it from these splits. Who is in training is the last to be tested.
LENDERS = {"train": ("validation", "test"), "test": ("validation", "train"), "validation": ("train", "test")}


@dataclass(frozen=True)
class Splits:
    """Where the clips of a data set belong. Each clip is either in `split_of` or in `left_out`.

    Attributes:
        split_of: train, validation or test, by the clip's name.
        left_out: why a clip is in no split, by the clip's name.
        remarks: what people should know about these splits, a line each.
    """

    split_of: dict[str, str]
    left_out: dict[str, str]
    remarks: tuple[str, ...]


def split_clips(
    clips: Iterable[Clip], how: Literal["published", "speaker", "random"], seed: int, needed: Sequence[str] = SPLITS
) -> Splits:
    """The split of each clip.

    Clips with a given split keep it. Copies of a recording are in one split, or are left out. Clips that kws has heard
    (`Clip.heard`) are for training, and all others are split as if those were not there.

    Args:
        clips: in any order; the result does not depend on it.
        how: `published`: each speaker by the published hash (`speaker_split`), also if a word is then out of a split.
            `speaker`: likewise, if all names follow Speech Commands and every word is then in every split. Otherwise
            the fewest people are moved that bring every word into every split. Where too few people say a word, its
            clips are split, and a remark says so.
            `random`: 80/10/10 of each word. The same voices are then in training and test, and the accuracy is too
            good.
        seed: of the random split.
        needed: the splits in which every word must be.
    """
    recorded, heard = _recorded_and_heard(clips)
    if how == "published":
        return _splits(recorded, heard, _published(recorded), needed, people_matter=True)
    options = _options(recorded, needed)
    split_of = _at_random(recorded, options, seed) if how == "random" else _by_speaker(recorded, options, needed)
    copies = _copies_elsewhere(recorded, split_of, needed)
    split_of |= _lent([clip for clip in recorded if clip.name not in copies], split_of, needed)
    return _splits(recorded, heard, split_of, needed, people_matter=how == "speaker")


def fold_clips(clips: Iterable[Clip], fold: int, folds: int) -> Splits:
    """The splits of one fold of a leave-speakers-out cross-validation.

    The speakers are dealt into groups with about as many clips of each word. Group `fold` is the test, the next one
    validation, the others training. With two folds, validation clips are taken from training's people.

    Args:
        clips: in any order; the result does not depend on it. Given splits do not count.
        fold: 1 to folds.
        folds: two or more.

    Raises:
        UserError: there are fewer speakers than folds.
    """
    clips = list(clips)
    ignored = ["the given splits do not count in a cross-validation"] if any(clip.split for clip in clips) else []
    recorded, heard = _recorded_and_heard(replace(clip, split="") for clip in clips)
    people = people_of(recorded, _options(recorded, SPLITS), merge=True)
    if len(people) < folds:
        raise UserError(f"fold: {folds} folds need as many speakers, and the data set has {len(people)}")
    splits = {fold: "test"} | ({fold % folds + 1: "validation"} if folds > 2 else {})
    split_of = {
        clip.name: splits.get(group, "train")
        for one, group in zip(people, deal(people, folds), strict=True)
        for clip in one.clips
    }
    of_others = [clip for clip in recorded if split_of[clip.name] != "test"]
    split_of |= _lent(of_others, split_of, ("train",) if folds > 2 else ("train", "validation"))
    result = _splits(recorded, heard, split_of, SPLITS, people_matter=True)
    return replace(result, remarks=(*ignored, *result.remarks))


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


def _options(clips: Sequence[Clip], needed: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The splits that a clip may be in, by its given one. If given splits lack one of those needed, training shares."""
    of_given = {split: (split,) for split in SPLITS} | {"": tuple(needed)}
    return of_given | {"train": ("train", *_not_given(clips, needed))}


def _not_given(clips: Sequence[Clip], needed: Sequence[str]) -> list[str]:
    """Of a data set that gives a split to each clip: the needed splits that it gives to none."""
    given = {clip.split for clip in clips}
    return [] if not given or "" in given else [split for split in needed if split not in given]


def _by_speaker(clips: Sequence[Clip], options: Mapping[str, tuple[str, ...]], needed: Sequence[str]) -> dict[str, str]:
    """The first plan in which every word is in every split; if there is none, the one that lacks least."""
    plans = []
    for number, split_of in enumerate(_plans(clips, options, needed)):
        plans.append((_lacking(clips, split_of, needed), number, split_of))
        if not any(plans[-1][0]):
            break
    return min(plans)[2]


def _plans(
    clips: Sequence[Clip], options: Mapping[str, tuple[str, ...]], needed: Sequence[str]
) -> Iterator[dict[str, str]]:
    if all(NOHASH in clip.name for clip in clips) and not any(clip.split for clip in clips):
        yield _published(clips)
    yield arrange(people_of(clips, options, merge=True), needed)
    if len({_recording(clip) for clip in clips}) < len(clips):  # too few people: rather leave copies out
        yield arrange(people_of(clips, options, merge=False), needed)


def _published(clips: Sequence[Clip]) -> dict[str, str]:
    split_of_speaker = {speaker: speaker_split(speaker) for speaker in {clip.speaker for clip in clips}}
    return {clip.name: split_of_speaker[clip.speaker] for clip in clips}


def _lacking(clips: Sequence[Clip], split_of: Mapping[str, str], needed: Sequence[str]) -> tuple[int, int]:
    """How many words lack training or test, and how many validation, without the copies that will be left out."""
    copies = _copies_elsewhere(clips, split_of, needed)
    there = {(clip.word, split_of[clip.name]) for clip in clips if clip.name not in copies}
    splits = [split for word in {clip.word for clip in clips} for split in needed if (word, split) not in there]
    return len(splits) - splits.count("validation"), splits.count("validation")


def _at_random(clips: Sequence[Clip], options: Mapping[str, tuple[str, ...]], seed: int) -> dict[str, str]:
    """Draws validation and test clips of each word, copies together. Given splits stay."""
    split_of = {clip.name: options[clip.split][0] for clip in clips}
    free = [clip for clip in clips if len(options[clip.split]) > 1]
    drawn: dict[str, str] = {}
    for members in _by_word(free).values():
        sizes = Counter(map(_recording, members))
        left = sorted(sizes.keys() - drawn.keys(), key=lambda recording: _lot(recording, seed))
        for split, after in (("test", 2), ("validation", 1)):  # after: splits that also need a recording
            if split not in options[members[0].split]:
                continue
            there = sum(clips for recording, clips in sizes.items() if drawn.get(recording) == split)
            while there < _share(split, len(members)) and len(left) > after:
                drawn[left[-1]] = split
                there += sizes[left.pop()]
        drawn |= dict.fromkeys(left, "train")
    return split_of | {clip.name: drawn[_recording(clip)] for clip in free}


def _lent(clips: Sequence[Clip], split_of: Mapping[str, str], needed: Sequence[str]) -> dict[str, str]:
    """New splits for clips of the words that still lack a split: too few people say them.

    A split keeps a recording of those that it lends; but it lends its last one to training, without which there is no
    test either. What is given as validation or test is not lent, nor is a recording that stands under two words.
    """
    lent: dict[str, str] = {}
    word_of: dict[str, str] = {}
    several = {recording for clip in clips if word_of.setdefault(recording := _recording(clip), clip.word) != clip.word}
    for members in _by_word(clip for clip in clips if _recording(clip) not in several).values():
        there: defaultdict[str, set[str]] = defaultdict(set)
        for clip in members:
            there[split_of[clip.name]].add(_recording(clip))
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


def _recorded_and_heard(clips: Iterable[Clip]) -> tuple[list[Clip], list[Clip]]:
    """The clips by name: those that people recorded, and those that kws has heard."""
    clips = sorted(clips, key=lambda clip: clip.name)
    return [clip for clip in clips if not clip.heard], [clip for clip in clips if clip.heard]


def _splits(
    recorded: Sequence[Clip],
    heard: Sequence[Clip],
    split_of: Mapping[str, str],
    needed: Sequence[str],
    *,
    people_matter: bool,
) -> Splits:
    """The result, without the copies, and the remarks on it."""
    clips = [*recorded, *heard]
    if heard:
        split_of = {**split_of, **dict.fromkeys((clip.name for clip in heard), "train")}
    left_out = _copies_elsewhere(clips, split_of, needed)
    kept = {clip.name: split_of[clip.name] for clip in clips if clip.name not in left_out}
    remarks = [*about_copies(clips, left_out), *_about_given(recorded, split_of, needed)]
    if people_matter:
        remarks += _about_people([clip for clip in clips if clip.name in kept], kept)
    return Splits(kept, left_out, tuple(remarks))


def _copies_elsewhere(clips: Sequence[Clip], split_of: Mapping[str, str], needed: Sequence[str]) -> dict[str, str]:
    """Why clips are left out, by name: a copy is in the test, or this clip is in training and a copy in validation."""
    order = {split: number for number, split in enumerate(needed)}
    best: dict[str, Clip] = {}
    for clip in clips:
        if clip.content and split_of[clip.name] in order:
            other = best.setdefault(clip.content, clip)
            if order[split_of[clip.name]] > order[split_of[other.name]]:
                best[clip.content] = clip
    reasons = {}
    for clip in clips:
        other = best.get(clip.content, clip)
        if split_of[clip.name] in order and split_of[clip.name] != split_of[other.name]:
            reasons[clip.name] = f"copy: of {other.name}, which is in {split_of[other.name]}"
    return reasons


def about_copies(clips: Sequence[Clip], left_out: Mapping[str, str]) -> list[str]:
    """Lines on recordings that are there twice, and on those that stand under two words."""
    first: dict[str, Clip] = {}
    copies, mislabelled = [], []
    for clip in clips:
        other = first.setdefault(clip.content, clip) if clip.content else clip
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


def _about_given(clips: Sequence[Clip], split_of: Mapping[str, str], needed: Sequence[str]) -> list[str]:
    """Lines on splits that the data set gives, but not to all words."""
    lacking = _not_given(clips, needed)
    remarks = [f"no clip is given for {' and '.join(lacking)}: taken from training's clips"] if lacking else []
    moved: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.split in needed and split_of[clip.name] not in (clip.split, *lacking):
            moved[split_of[clip.name]].append(clip)
    for split, members in moved.items():
        names = first_names(clip.name for clip in members)
        remarks.append(
            f"{_count(len(members), 'clip')} of {first_names(_by_word(members), 5)} ({names}) "
            f"moved to {split}, for which none is given"
        )
    return remarks


def _about_people(clips: Sequence[Clip], split_of: Mapping[str, str]) -> list[str]:
    """A line that says which words have the same people in training and in validation or test, if there are any."""
    heard: defaultdict[str, set[str]] = defaultdict(set)
    for clip in clips:
        heard[split_of[clip.name]].add(clip.speaker)
    earlier = {"validation": heard["train"], "test": heard["train"] | heard["validation"], "train": set()}
    twice = [clip for clip in clips if clip.speaker in earlier[split_of[clip.name]]]
    if not twice:
        return []
    number = Counter(split_of[clip.name] for clip in twice)
    shown = " and ".join(_count(number[split], f"{split} clip") for split in SPLITS if number[split])
    where = " and ".join(split for split in SPLITS if number[split])
    cause = "as given" if all(clip.split == split_of[clip.name] for clip in twice) else "too few people say these words"
    line = f"{shown} of {first_names(_by_word(twice), 5)} are of people who are in another split, too ({cause})"
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
