"""Chooses the clips of an experiment, with class and split of each."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kws.core.errors import UserError
from kws.core.naming import SILENCE, UNKNOWN, first_names, is_computed
from kws.core.params import PUBLISHED, Params
from kws.recordings.background import NOBODY
from kws.recordings.clips import SPLITS, UNHEARD, Clip, choose_words, lot
from kws.recordings.people import is_named
from kws.recordings.splits import Splits, about_copies, check_splits, fold_clips, split_clips
from kws.recordings.unheard import (
    Origin,
    by_people,
    dealt_words,
    held_out,
    of_test_data_set,
    other_words,
    some_of_each_word,
    without_copies,
)

TEST_SPEAKER = "its speaker is in the test data set"
_NAMED_WORDS = 10  # in a line


@dataclass(frozen=True, slots=True)
class Chosen:
    """A clip, the class it belongs to, and its split: of `SPLITS`, or of `UNHEARD`. Unheard words are `_unknown_`."""

    clip: Clip
    label: str
    split: str


Tally = Counter[tuple[str, str, bool]]  # clips by class, split, and whether computed voices say them beside people


def tally(chosen: Iterable[Chosen]) -> Tally:
    """How many of these clips there are."""
    return Counter((one.label, one.split, is_computed(one.clip.name)) for one in chosen)


@dataclass(frozen=True)
class Selection:
    """What an experiment is made of.

    Attributes:
        clips: in the order of their names, but those of computed voices after all others.
        left_out: clips that are in no split (it is empty), and why.
        remarks: what people should know about the splits, a line each.
    """

    clips: list[Chosen]
    left_out: dict[Chosen, str]
    remarks: list[str]


def choose(
    recordings: Sequence[Clip],
    test_recordings: Sequence[Clip] | None,
    params: Params,
    origins: Mapping[str, Origin],
    computed: Sequence[Clip] = (),
) -> Selection:
    """The clips of an experiment.

    Clips of the chosen words are split. If `unknown` is on, clips of other words become the class `_unknown_`. The
    number of its training clips is `unknown` times the average of a word, and that of its validation and test clips is
    the average of a word; those that `kws listen --keep` has heard come beside. Recordings in `_unknown_` and
    `_silence_` belong to these classes. Other words that training does not hear are the splits of `UNHEARD`.

    A test data set is the whole test split. Its words that are not chosen are kept out of training. Who says a word in
    it is kept out of training and validation, if names tell who speaks. What the first data set has for the test is not
    used, but for unheard words.

    Computed voices that speak beside people are in training. In validation and test they say the words that have no
    recordings there, and other words if people say none.

    Args:
        recordings: of the data set.
        test_recordings: of the test data set; None: there is none.
        params: the parameters.
        origins: where the clips of each unheard split come from.
        computed: the clips of computed voices: those beside people, and those that say other words in the streams.

    Raises:
        UserError: a word has no clip in one of the splits; `unknown` is on, and there are no other words; or the test
            data set has recordings that are also in training or validation.
    """
    beside = [clip for clip in computed if is_computed(clip.name)]
    others: list[Clip] = []
    if "dataset" in origins.values():
        others = other_words(recordings, test_recordings or (), params)
        words = set(held_out((clip.spoken for clip in others), params))
        others = [clip for clip in others if clip.spoken in words]
    labelled = _labelled(recordings, test_recordings or (), {clip.spoken for clip in others}, beside, params)
    tests = _tested(test_recordings or (), params)
    speakers = {one.clip.speaker for one in tests if is_named(one.clip.speaker)}
    left_out = {Chosen(c, label, ""): TEST_SPEAKER for c, label in labelled.items() if c.speaker in speakers}
    if left_out:
        labelled = {clip: label for clip, label in labelled.items() if clip.speaker not in speakers}

    needed = SPLITS if test_recordings is None else SPLITS[:2]
    splits = _split(labelled, needed, params)
    remarks = list(splits.remarks)
    chosen = [Chosen(clip, label, splits.split_of.get(clip.name, "")) for clip, label in labelled.items()]
    left_out |= {one: splits.left_out[one.clip.name] for one in chosen if not one.split}
    unheard, unheard_remarks = _unheard(others, [*chosen, *tests], origins, computed, params)
    unused = [one for one in chosen if one.split and one.split not in needed]
    if unused:
        remarks.append(f"{len(unused)} clips for the test are not used: test_dataset is the test")
    chosen = [one for one in chosen if one.split in needed]
    remarks += _unused(recordings, params)
    words = set(params.words)
    chosen += [
        Chosen(clip, clip.word if clip.word in words else UNKNOWN, clip.split)
        for clip in beside
        if clip.word in words or (params.unknown and clip.split in needed)
    ]
    if params.unknown:
        chosen, unknown_remarks = _so_many_unknown(chosen, needed, params)
        remarks += unknown_remarks
    _refuse_shared(chosen, tests)
    remarks += [f"test_dataset: {line}" for line in about_copies([one.clip for one in tests], {})]
    chosen += [one for one in tests if one.split in SPLITS]
    if params.silence:
        made = _silences(chosen, params, tested=test_recordings is not None)
        if own := sum(one.label == SILENCE and one.split in needed for one in chosen):
            remarks.append(f"{own} recordings of {SILENCE} are used, and {len(made)} more are made of background")
        chosen += made
    if heard := sum(one.clip.heard and one.label == UNKNOWN for one in chosen):
        unheard_remarks.append(
            f"training hears {heard} clips of other words that kws listen --keep has heard: nobody knows which words, "
            "so some of those that training does not hear may be among them"
        )
    check_classes(tally(chosen), params)
    used = share_of_training(chosen, params.train_share, by_people=params.split == "speaker")
    chosen = sorted([*used, *unheard], key=lambda one: (is_computed(one.clip.name), one.clip.name))
    return Selection(chosen, left_out, remarks + _about_computed(chosen) + unheard_remarks)


def _labelled(
    recordings: Sequence[Clip],
    tests: Sequence[Clip],
    unheard_words: Collection[str],
    beside: Sequence[Clip],
    params: Params,
) -> dict[Clip, str]:
    """The class of each clip of the data set that belongs to one; clips of unheard words belong to none."""
    there, made = {clip.word for clip in recordings}, {clip.word for clip in beside}
    words = [word for word in params.words if word in there or word not in made]
    labelled = {clip: clip.word for clip in choose_words(recordings, words)}
    if params.unknown:
        kept_away = {clip.word for clip in tests}
        used = {*params.words, *kept_away}
        others = [c for c in recordings if c.word == UNKNOWN or not (c.word.startswith("_") or c.word in used)]
        if not others and made <= {*params.words}:
            raise UserError(
                "unknown: the data set has no other words to make _unknown_ of; add a folder of recordings for each of "
                "some, or set it to 0 (one word alone then needs silence above 0)"
            )
        labelled |= {clip: UNKNOWN for clip in others if clip.spoken not in unheard_words}
    if params.silence:
        labelled |= {clip: SILENCE for clip in recordings if clip.word == SILENCE}
    return labelled


def _unheard(
    others: Sequence[Clip],
    chosen: Sequence[Chosen],
    origins: Mapping[str, Origin],
    computed: Sequence[Clip],
    params: Params,
) -> tuple[list[Chosen], list[str]]:
    """The clips of the unheard splits, and lines that tell their words and numbers.

    Args:
        others: the data set's clips of words that training does not hear; empty if no split is made of them.
        chosen: the clips of all other splits, and those of the test data set.
        origins: where the clips of each unheard split come from.
        computed: the clips of computed voices.
        params: the parameters.
    """
    splits_of: defaultdict[str, set[str]] = defaultdict(set)
    for one in chosen:
        if one.split:
            splits_of[one.clip.speaker].add("test" if one.split == UNHEARD["test"] else one.split)
    of_data_set = [split for split, name in UNHEARD.items() if origins[name] == "dataset"]
    words_of = dealt_words((clip.spoken for clip in others), of_data_set)
    others = without_copies(others, [one.clip for one in chosen])
    apart, remarks = by_people(others, splits_of, words_of, params)
    if shared := {*words_of.get("validation", ())} & {*words_of.get("test", ())}:
        remarks.append(
            f"other words for validation and test are the same, since training leaves out only {''.join(shared)}: "
            "thresholds are chosen on the word that they are tested with"
        )
    unheard: list[Chosen] = []
    for split, name in UNHEARD.items():
        if origins[name] == "dataset":
            found = apart[split]
        elif origins[name] == "test_dataset":
            found = [one.clip for one in chosen if one.split == name]
        else:
            found = [clip for clip in computed if clip.split == split and not is_computed(clip.name)]
        members = some_of_each_word(found)
        unheard += [Chosen(clip, UNKNOWN, name) for clip in members]
        words = Counter(clip.spoken for clip in members)
        remarks.append(
            f"other words for {split}, which training does not hear: {len(members)} clips"
            f"{'' if len(members) == len(found) else f' of {len(found)}'} of {len(words)} words "
            f"({first_names(sorted(words), _NAMED_WORDS)})"
        )
    return unheard, remarks


def _unused(recordings: Iterable[Clip], params: Params) -> list[str]:
    """A line for each class that has recordings, but is off."""
    counts = Counter(clip.word for clip in recordings)
    off = {UNKNOWN: "unknown", SILENCE: "silence"}.items()
    return [
        f"{counts[name]} recordings of {name} are not used: {parameter} is 0"
        for name, parameter in off
        if counts[name] and name not in params.classes
    ]


def check_classes(clips: Tally, params: Params) -> None:
    """Checks that every word has a clip in each split.

    In a cross-validation each split needs a recording of any class, and training one of each word.

    Raises:
        UserError: a word has none.
    """
    there: Counter[tuple[str, str]] = Counter()
    for (label, split, _), number in clips.items():
        there[label, split] += number
    if not params.fold:
        return check_splits(there, params.words)
    unheard = [word for word in params.words if (word, "train") not in there]
    if unheard:
        raise UserError(f"fold {params.fold}: nobody in training says {', '.join(unheard)}; more people must say it")
    people_are_in = {split for _, split, computed in clips if not computed}
    empty = [split for split in SPLITS if split not in people_are_in]
    if empty:
        raise UserError(f"fold {params.fold}: no usable recording is in {' and '.join(empty)}")
    return None


def check_unheard(usable: Tally, params: Params) -> None:
    """Checks that each of the streams has other speech.

    Raises:
        UserError: no clip is left for one of them.
    """
    there = {split for _, split, _ in usable}
    if lacking := [split for split, name in UNHEARD.items() if name not in there]:
        way = "set unheard_words to 0" if params.unknown else "take away those that are there"
        raise UserError(
            f"no usable clip of words that training does not hear is left for the stream of {' and '.join(lacking)}: "
            f"add recordings of other words, or {way}, and computed voices say some"
        )


def _split(labelled: Mapping[Clip, str], needed: Sequence[str], params: Params) -> Splits:
    """The splits of the data set's clips. Each class is to be in all splits, so it takes the place of the word."""
    clips = [clip if clip.word == label else replace(clip, word=label) for clip, label in labelled.items()]
    if params.fold_of_folds:
        return fold_clips(clips, *params.fold_of_folds)
    official = params.split == "speaker" and params.dataset in PUBLISHED
    return split_clips(clips, "published" if official else params.split, params.seed, needed)


def _so_many_unknown(chosen: Sequence[Chosen], needed: Sequence[str], params: Params) -> tuple[list[Chosen], list[str]]:
    """All clips of words, all other words that kws took for one of them, and as many others as `unknown` says.

    In training, computed voices have the same share of the other words as of the words, if people say enough of both.
    In validation and test they say other words only where people say none.

    Returns:
        The clips. A line for each split that has fewer other words than were wanted.
    """
    words = [one for one in chosen if one.label != UNKNOWN]
    kept, remarks = list(words), []
    for split in needed:
        of_words = [is_computed(one.clip.name) for one in words if one.split == split and one.label != SILENCE]
        wanted = max(1, round(len(of_words) / len(params.words) * (params.unknown if split == "train" else 1)))
        there = [one for one in chosen if one.label == UNKNOWN and one.split == split]
        heard = [one for one in there if one.clip.heard]
        others = sorted((one for one in there if not one.clip.heard), key=lambda one: lot(one.clip.name))
        people = [one for one in others if not is_computed(one.clip.name)]
        computed = [one for one in others if is_computed(one.clip.name)]
        if not there and (split == "train" or not params.fold):
            raise UserError(f"unknown: no clip of the data set's other words is for {split}; add some, or set it to 0")
        if people:
            share = sum(of_words) / max(1, len(of_words)) if split == "train" else 0
            computed = computed[: round(share * wanted)]
        taken = computed[:wanted] + people[: max(0, wanted - len(computed))]
        kept += heard + taken
        if len(taken) < wanted:
            unused = len(others) - len(taken)
            why = "to keep their share of the words" if split == "train" else "since people say some"
            beside = f"; {unused} of computed voices are left out, {why}" if unused else ""
            remarks.append(f"{UNKNOWN}: {split} has {len(taken)} clips of {wanted} that were wanted{beside}")
    return kept, remarks


def _about_computed(chosen: Iterable[Chosen]) -> list[str]:
    """A line that tells computed voices that speak beside people apart; none if there are none."""
    counts = Counter(one.split for one in chosen if is_computed(one.clip.name))
    if not counts:
        return []
    line = "of computed voices: " + ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if counts[split])
    tested = {one.label for one in chosen if is_computed(one.clip.name) and one.split != "train"}
    if tested:
        line += (
            f"; in validation or test nobody else says {len(tested)} of the classes ({first_names(sorted(tested))}): "
            "their figures are not those of people"
        )
    return [line]


def _refuse_shared(chosen: Iterable[Chosen], tests: Iterable[Chosen]) -> None:
    heard = {one.clip.content: one for one in chosen if one.clip.content}
    shared = [(one.clip, heard[one.clip.content]) for one in tests if one.clip.content in heard]
    if shared:
        shown = ", ".join(f"{clip.name} ({one.clip.name} in {one.split})" for clip, one in shared[:3])
        raise UserError(
            f"test_dataset: {len(shared)} of its recordings are also in dataset, for training or validation: {shown}"
            f"{' …' if len(shared) > 3 else ''}; take them out of one of the two"
        )


def _silences(chosen: Sequence[Chosen], params: Params, *, tested: bool) -> list[Chosen]:
    """Clips of silence to be made, so many that each split has what `silence` says; none for a test data set's own."""
    made: list[Chosen] = []
    words = set(params.words)
    for split in SPLITS:
        here = [one for one in chosen if one.split == split]
        own = sum(one.label == SILENCE for one in here)
        average = sum(one.label in words for one in here) / len(params.words)
        wanted = max(1, round(average * (params.silence if split == "train" else 1))) - own
        if split == "test" and tested and own:
            continue
        names = [f"{SILENCE}/{split}-{number:05d}" for number in range(wanted)]
        made += [Chosen(Clip(name, SILENCE, NOBODY + name), SILENCE, split) for name in names]
    return made


def _tested(recordings: Sequence[Clip], params: Params) -> list[Chosen]:
    """The clips of the test data set that are used: of classes, and of words that training does not hear."""
    recorded = [clip for clip in recordings if not clip.heard]
    chosen = [Chosen(clip, clip.word, "test") for clip in recorded if clip.word in params.classes]
    return chosen + [Chosen(clip, UNKNOWN, UNHEARD["test"]) for clip in of_test_data_set(recorded, params)]


def share_of_training(chosen: Sequence[Chosen], share: float, *, by_people: bool) -> list[Chosen]:
    """The other splits, and a share of the training clips. A larger share contains a smaller one.

    By people: all clips of a share of the people, drawn by their names. Clips of which no name tells who speaks, and
    silence that kws makes, are drawn one by one, a share of each class. So are all clips, if it is not by people.
    Every class keeps a clip. All clips of computed voices that speak beside people stay.

    Args:
        chosen: of all splits.
        share: above 0 to 1.
        by_people: whether people are drawn.
    """
    kept = [one for one in chosen if one.split != "train" or is_computed(one.clip.name)]
    classes: defaultdict[str, list[Chosen]] = defaultdict(list)
    for one in chosen:
        if one.split == "train" and not is_computed(one.clip.name):
            classes[one.label].append(one)
    people = {one.clip.speaker for members in classes.values() for one in members if is_named(one.clip.speaker)}
    order = {person: place for place, person in enumerate(sorted(people, key=lot))} if by_people else {}
    drawn = max(1, round(share * len(order)))
    for members in classes.values():
        single = sorted((one for one in members if one.clip.speaker not in order), key=lambda one: lot(one.clip.name))
        kept += single[: max(1, round(share * len(single)))]
        of_people = sorted(
            (one for one in members if one.clip.speaker in order),
            key=lambda one: (order[one.clip.speaker], lot(one.clip.name)),
        )
        said = [one for one in of_people if order[one.clip.speaker] < drawn]
        kept += said or of_people[: 0 if single else 1]
    return kept
