"""Chooses the clips of an experiment, with class and split of each."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kws.core.errors import UserError
from kws.core.naming import SILENCE, UNKNOWN, first_names, is_computed
from kws.core.params import PUBLISHED, Params
from kws.core.streams import Repeatable
from kws.featurize.chosen import Chosen, ChosenTable, Tally
from kws.recordings.background import NOBODY
from kws.recordings.clips import SPLITS, UNHEARD, Clip, copies_in, lot, require_words
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
# Of conditions in SQL
_OF_WORDS = f"label NOT IN ('{UNKNOWN}', '{SILENCE}')"
_BY_CLASS = f"ORDER BY label = '{SILENCE}', label = '{UNKNOWN}', place"


@dataclass(frozen=True)
class Selection:
    """What an experiment is made of.

    Attributes:
        clips: in the order of their names, but those of computed voices after all others.
        tally: how many they are.
        left_out: clips that are in no split (it is empty), and why.
        remarks: what people should know about the splits, a line each.
    """

    clips: Iterable[Chosen]
    tally: Tally
    left_out: Iterable[tuple[Chosen, str]]
    remarks: list[str]


def choose(
    recordings: Iterable[Clip],
    test_recordings: Iterable[Clip] | None,
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

    There may be millions of recordings. They are read many times, and what is chosen of them is in temporary files. In
    memory are people, words, copies, and a few bytes a recording.

    Args:
        recordings: of the data set, in the order of their names.
        test_recordings: of the test data set, likewise; None: there is none.
        params: the parameters.
        origins: where the clips of each unheard split come from.
        computed: the clips of computed voices: those beside people, and those that say other words in the streams.

    Raises:
        UserError: a word has no clip in one of the splits; `unknown` is on, and there are no other words; or the test
            data set has recordings that are also in training or validation.
    """
    theirs = () if test_recordings is None else test_recordings
    beside = [clip for clip in computed if is_computed(clip.name)]
    there = Counter(clip.word for clip in recordings)
    others, unheard_words = _others(recordings, theirs, params) if "dataset" in origins.values() else ((), set[str]())
    label_of = _labels(there, {clip.word for clip in theirs}, unheard_words, beside, params)
    tests = _tested(theirs, params)
    speakers = {one.clip.speaker for one in tests if is_named(one.clip.speaker)}
    labelled = Repeatable(lambda: ((clip, label) for clip in recordings if (label := label_of(clip))))
    free = Repeatable(lambda: (pair for pair in labelled if pair[0].speaker not in speakers)) if speakers else labelled
    of_tested = (
        ChosenTable(Chosen(c, label, "") for c, label in labelled if c.speaker in speakers) if speakers else None
    )

    needed = SPLITS if test_recordings is None else SPLITS[:2]
    splits = _split(free, needed, params)
    remarks = list(splits.remarks)
    chosen = ChosenTable(Chosen(c, label, splits.split_of(_labelled(c, label))) for c, label in free)
    every = Repeatable(lambda: itertools.chain(recordings, theirs))
    unheard, unheard_remarks = _unheard(
        others, unheard_words, chosen, tests, every=every, origins=origins, computed=computed, params=params
    )
    copies = list(chosen.where(f"split = '' {_BY_CLASS}"))
    chosen.remove("split = ''")
    if unused := chosen.count("split = 'test'") if "test" not in needed else 0:
        remarks.append(f"{unused} clips for the test are not used: test_dataset is the test")
        chosen.remove("split = 'test'")
    remarks += _unused(there, params)
    words = set(params.words)
    chosen.add(
        Chosen(clip, clip.word if clip.word in words else UNKNOWN, clip.split)
        for clip in beside
        if clip.word in words or (params.unknown and clip.split in needed)
    )
    if params.unknown:
        remarks += _leave_so_many_unknown(chosen, needed, params)
    if test_recordings is not None:
        _refuse_shared(chosen, tests)
        tested = Repeatable(lambda: (one.clip for one in tests))
        remarks += [f"test_dataset: {line}" for line in about_copies(copies_in(tested), {})]
        chosen.add(one for one in tests if one.split in SPLITS)
    if params.silence:
        own = sum(chosen.count(f"label = '{SILENCE}' AND split = ?", split) for split in needed)
        made = _add_silences(chosen, params, tested=test_recordings is not None)
        if own:
            remarks.append(f"{own} recordings of {SILENCE} are used, and {made} more are made of background")
    if heard := chosen.count(f"heard AND label = '{UNKNOWN}'"):
        unheard_remarks.append(
            f"training hears {heard} clips of other words that kws listen --keep has heard: nobody knows which words, "
            "so some of those that training does not hear may be among them"
        )
    check_classes(chosen.tally(), params)
    if params.train_share < 1:
        leave_share_of_training(chosen, params.train_share, by_people=params.split == "speaker")
    chosen.add(unheard)
    tally = chosen.tally()

    def left_out() -> Iterator[tuple[Chosen, str]]:
        if of_tested:
            yield from ((one, TEST_SPEAKER) for one in of_tested.where(f"TRUE {_BY_CLASS}"))
        yield from ((one, splits.left_out[one.clip.name]) for one in copies)

    return Selection(chosen, tally, Repeatable(left_out), remarks + _about_computed(tally) + unheard_remarks)


def _others(recordings: Iterable[Clip], tests: Iterable[Clip], params: Params) -> tuple[Repeatable[Clip], set[str]]:
    """The clips of words that training does not hear, and these words."""
    others = other_words(recordings, tests, params)
    words = set(held_out((clip.spoken for clip in others), params))
    return Repeatable(lambda: (clip for clip in others if clip.spoken in words)), words


def _labels(
    there: Collection[str],
    tested: Collection[str],
    unheard_words: Collection[str],
    beside: Sequence[Clip],
    params: Params,
) -> Callable[[Clip], str]:
    """Tells the class of a clip of the data set; "": it belongs to none, as those of unheard words.

    Args:
        there: the words of the data set, and its folders that begin with `_`.
        tested: likewise of the test data set.
        unheard_words: that training does not hear.
        beside: clips of computed voices that speak beside people.
        params: the parameters.
    """
    made = {clip.word for clip in beside}
    words = {word for word in params.words if word in there or word not in made}
    require_words(there, [word for word in params.words if word in words])

    used = {*params.words, *tested}
    others = {word for word in there if word == UNKNOWN or not (word.startswith("_") or word in used)}
    if params.unknown and not others and made <= {*params.words}:
        raise UserError(
            "unknown: the data set has no other words to make _unknown_ of; add a folder of recordings for each of "
            "some, or set it to 0 (one word alone then needs silence above 0)"
        )

    label_of_word = dict.fromkeys(others, UNKNOWN) if params.unknown else {}
    label_of_word |= {word: word for word in (*words, *([SILENCE] if params.silence else []))}

    def label_of(clip: Clip) -> str:
        label = label_of_word.get(clip.word, "")
        return "" if label == UNKNOWN and clip.spoken in unheard_words else label

    return label_of


def _labelled(clip: Clip, label: str) -> Clip:
    """The clip with its class in place of the word: it is the class that is to be in all splits."""
    return clip if clip.word == label else replace(clip, word=label)


def _split(labelled: Iterable[tuple[Clip, str]], needed: Sequence[str], params: Params) -> Splits:
    """The splits of the data set's clips, which have a label each."""
    clips = Repeatable(lambda: (_labelled(clip, label) for clip, label in labelled))
    if params.fold_of_folds:
        return fold_clips(clips, *params.fold_of_folds)
    official = params.split == "speaker" and params.dataset in PUBLISHED
    return split_clips(clips, "published" if official else params.split, params.seed, needed)


def _unheard(  # noqa: PLR0913 (they are told apart from all others)
    others: Iterable[Clip],
    unheard_words: Collection[str],
    chosen: ChosenTable,
    tests: Iterable[Chosen],
    *,
    every: Iterable[Clip],
    origins: Mapping[str, Origin],
    computed: Sequence[Clip],
    params: Params,
) -> tuple[list[Chosen], list[str]]:
    """The clips of the unheard splits, and lines that tell their words and numbers.

    Args:
        others: the data set's clips of words that training does not hear; empty if no split is made of them.
        unheard_words: these words.
        chosen: the clips of all other splits, and those that are left out.
        tests: the chosen clips of the test data set.
        every: all clips of the data set and of the test data set.
        origins: where the clips of each unheard split come from.
        computed: the clips of computed voices.
        params: the parameters.
    """
    apart: dict[str, Repeatable[Clip]] = {}
    remarks: list[str] = []
    if of_data_set := [split for split in UNHEARD if origins[UNHEARD[split]] == "dataset"]:
        splits_of: defaultdict[str, set[str]] = defaultdict(set)
        for speaker, split in chosen.database.execute("SELECT DISTINCT speaker, split FROM chosen WHERE split != ''"):
            splits_of[speaker].add(split)
        for one in tests:
            splits_of[one.clip.speaker].add("test")
        words_of = dealt_words(unheard_words, of_data_set)
        used = Repeatable(lambda: (one.clip for one in itertools.chain(chosen, tests)))
        apart, remarks = by_people(without_copies(others, used, copies_in(every)), splits_of, words_of, params)
        if shared := {*words_of.get("validation", ())} & {*words_of.get("test", ())}:
            remarks.append(
                "other words for validation and test are the same, since training leaves out only "
                f"{''.join(shared)}: thresholds are chosen on the word that they are tested with"
            )
    unheard: list[Chosen] = []
    for split, name in UNHEARD.items():
        found: Iterable[Clip]
        if origins[name] == "dataset":
            found = apart[split]
        elif origins[name] == "test_dataset":
            found = Repeatable(lambda: (one.clip for one in tests if one.split == UNHEARD["test"]))
        else:
            found = [clip for clip in computed if clip.split == split and not is_computed(clip.name)]
        members, there = some_of_each_word(found), sum(1 for _ in found)
        unheard += [Chosen(clip, UNKNOWN, name) for clip in members]
        words = Counter(clip.spoken for clip in members)
        remarks.append(
            f"other words for {split}, which training does not hear: {len(members)} clips"
            f"{'' if len(members) == there else f' of {there}'} of {len(words)} words "
            f"({first_names(sorted(words), _NAMED_WORDS)})"
        )
    return unheard, remarks


def _unused(counts: Counter[str], params: Params) -> list[str]:
    """A line for each class that has recordings, but is off; the counts are those of words and folders."""
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


def _leave_so_many_unknown(chosen: ChosenTable, needed: Sequence[str], params: Params) -> list[str]:
    """Leaves all other words that kws took for one of the words, and as many others as `unknown` says.

    In training, computed voices have the same share of the other words as of the words, if people say enough of both.
    In validation and test they say other words only where people say none.

    Returns:
        A line for each split that has fewer other words than were wanted.
    """
    remarks = []
    for split in needed:
        words = chosen.count(f"{_OF_WORDS} AND split = ?", split)
        wanted = max(1, round(words / len(params.words) * (params.unknown if split == "train" else 1)))
        there = f"label = '{UNKNOWN}' AND split = ?"
        if not chosen.count(there, split) and (split == "train" or not params.fold):
            raise UserError(f"unknown: no clip of the data set's other words is for {split}; add some, or set it to 0")
        of_people, of_computed = f"{there} AND NOT heard AND NOT computed", f"{there} AND NOT heard AND computed"
        people, computed = chosen.count(of_people, split), chosen.count(of_computed, split)
        useful = computed
        if people:
            share = (
                chosen.count(f"{_OF_WORDS} AND split = ? AND computed", split) / max(1, words)
                if split == "train"
                else 0
            )
            useful = min(computed, round(share * wanted))
        take_computed, take_people = min(useful, wanted), min(people, max(0, wanted - useful))
        chosen.remove(of_computed, split, keep="lot(name)", first=take_computed)
        chosen.remove(of_people, split, keep="lot(name)", first=take_people)
        taken = take_computed + take_people
        if taken < wanted:
            unused = people + computed - taken
            why = "to keep their share of the words" if split == "train" else "since people say some"
            beside = f"; {unused} of computed voices are left out, {why}" if unused else ""
            remarks.append(f"{UNKNOWN}: {split} has {taken} clips of {wanted} that were wanted{beside}")
    return remarks


def _about_computed(tally: Tally) -> list[str]:
    """A line that tells computed voices that speak beside people apart; none if there are none."""
    counts: Counter[str] = Counter()
    for (_, split, computed), number in tally.items():
        counts[split] += number * computed
    if not counts.total():
        return []
    line = "of computed voices: " + ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if counts[split])
    tested = {label for label, split, computed in tally if computed and split != "train"}
    if tested:
        line += (
            f"; in validation or test nobody else says {len(tested)} of the classes ({first_names(sorted(tested))}): "
            "their figures are not those of people"
        )
    return [line]


def _refuse_shared(chosen: Iterable[Chosen], tests: Iterable[Chosen]) -> None:
    copies = copies_in(Repeatable(lambda: (one.clip for one in itertools.chain(chosen, tests))))
    copied = {clip.content for clip in copies}
    heard = {one.clip.content: one for one in chosen if one.clip.content in copied}
    shared = [(one.clip, heard[one.clip.content]) for one in tests if one.clip.content in heard]
    if shared:
        shown = ", ".join(f"{clip.name} ({one.clip.name} in {one.split})" for clip, one in shared[:3])
        raise UserError(
            f"test_dataset: {len(shared)} of its recordings are also in dataset, for training or validation: {shown}"
            f"{' …' if len(shared) > 3 else ''}; take them out of one of the two"
        )


def _add_silences(chosen: ChosenTable, params: Params, *, tested: bool) -> int:
    """Adds clips of silence to be made, so many that each split has what `silence` says.

    A test data set that has silence of its own gets none.

    Returns:
        Their number.
    """
    number_of = dict.fromkeys(SPLITS, 0)
    for split in SPLITS:
        own = chosen.count(f"label = '{SILENCE}' AND split = ?", split)
        words = chosen.count(f"{_OF_WORDS} AND split = ?", split)
        wanted = max(1, round(words / len(params.words) * (params.silence if split == "train" else 1))) - own
        if not (split == "test" and tested and own):
            number_of[split] = max(0, wanted)
    names = ((split, f"{SILENCE}/{split}-{n:05d}") for split, number in number_of.items() for n in range(number))
    chosen.add(Chosen(Clip(name, SILENCE, NOBODY + name), SILENCE, split) for split, name in names)
    return sum(number_of.values())


def _tested(recordings: Iterable[Clip], params: Params) -> Repeatable[Chosen]:
    """The clips of the test data set that are used: of classes, and of words that training does not hear."""
    recorded = Repeatable(lambda: (clip for clip in recordings if not clip.heard))
    others = of_test_data_set(recorded, params)

    def chosen() -> Iterator[Chosen]:
        yield from (Chosen(clip, clip.word, "test") for clip in recorded if clip.word in params.classes)
        yield from (Chosen(clip, UNKNOWN, UNHEARD["test"]) for clip in others)

    return Repeatable(chosen)


def leave_share_of_training(chosen: ChosenTable, share: float, *, by_people: bool) -> None:
    """Leaves the other splits, and a share of the training clips. A larger share contains a smaller one.

    By people: all clips of a share of the people, drawn by their names. Clips of which no name tells who speaks, and
    silence that kws makes, are drawn one by one, a share of each class. So are all clips, if it is not by people.
    Every class keeps a clip. All clips of computed voices that speak beside people stay.

    Args:
        chosen: of all splits.
        share: above 0 to below 1.
        by_people: whether people are drawn.
    """
    database, train = chosen.database, "split = 'train' AND NOT computed"
    database.execute("CREATE TABLE people (speaker TEXT PRIMARY KEY, turn INTEGER) WITHOUT ROWID")
    people = [who for (who,) in database.execute(f"SELECT DISTINCT speaker FROM chosen WHERE {train}") if is_named(who)]
    order = sorted(people, key=lot) if by_people else []
    database.executemany("INSERT INTO people VALUES (?, ?)", ((who, turn) for turn, who in enumerate(order)))
    drawn = max(1, round(share * len(order)))
    turn = "(SELECT turn FROM people WHERE people.speaker = chosen.speaker)"
    for (label,) in database.execute(f"SELECT DISTINCT label FROM chosen WHERE {train}").fetchall():
        single = f"{train} AND label = ? AND {turn} IS NULL"
        of_people = f"{train} AND label = ? AND {turn} IS NOT NULL"
        one_by_one, said = chosen.count(single, label), chosen.count(f"{of_people} AND {turn} < {drawn}", label)
        chosen.remove(single, label, keep="lot(name)", first=max(1, round(share * one_by_one)))
        if said:
            chosen.remove(f"{of_people} AND {turn} >= {drawn}", label)
        else:
            chosen.remove(of_people, label, keep=f"{turn}, lot(name)", first=0 if one_by_one else 1)
    database.execute("DROP TABLE people")
