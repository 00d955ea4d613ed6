import itertools
import tracemalloc
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from conftest import contents_of

from kws.core.errors import UserError
from kws.core.naming import SILENCE, UNKNOWN
from kws.core.params import Params
from kws.core.streams import Repeatable
from kws.featurize import splits
from kws.featurize.chosen import Chosen, ChosenTable, Tally
from kws.featurize.splits import Selection, check_classes, check_unheard
from kws.recordings.background import is_nobody
from kws.recordings.clips import HOUSEHOLD, SPLITS, UNHEARD, Clip
from kws.recordings.layout import understand
from kws.recordings.people import speaker_split
from kws.recordings.splits import split_clips
from kws.recordings.unheard import dealt_words, origins_of, some_of_each_word

WORDS = ("yes", "no")
OTHERS = ("bird", "cat", "dog")
SPEAKERS = [f"{number:03d}" for number in range(200)]


def clips_of(*words: str, speakers=SPEAKERS, folder: str = "") -> list[Clip]:
    return [Clip(f"{folder}{word}/{speaker}_nohash_0.wav", word, speaker) for word in words for speaker in speakers]


RECORDINGS = clips_of(*WORDS, *OTHERS) + clips_of("_background_noise_", speakers=["hiss", "tap"])
TESTED = clips_of(*WORDS, "dog", "wolf", speakers=["t1", "t2", "t3"], folder="test/")


def choose(recordings: list[Clip], *more) -> Selection:
    """A selection that is in memory."""
    selection = splits.choose(sorted(recordings, key=lambda clip: clip.name), *more)
    clips = list(selection.clips)
    assert tally(clips) == selection.tally
    return replace(selection, clips=clips, left_out=dict(selection.left_out))


def tally(chosen: list[Chosen]) -> Tally:
    return ChosenTable(chosen).tally()


PER_WORD = Counter(speaker_split(speaker) for speaker in SPEAKERS)  # clips of each word in each split


@pytest.fixture
def make_selection(make_params):
    """Chooses clips by the default parameters, with these changes."""

    def run(recordings=RECORDINGS, tested=None, **changes) -> Selection:
        params = make_params(**{"words": WORDS, "train_share": 1.0, **changes})
        return choose(recordings, tested, params, origins_of(recordings, tested or (), params))

    return run


@pytest.fixture
def select(make_selection):
    """The clips of such a selection."""
    return lambda *arguments, **changes: make_selection(*arguments, **changes).clips


def without_unheard(remarks: list[str]) -> list[str]:
    """The remarks without the two that every selection has."""
    return [remark for remark in remarks if not remark.startswith("other words for ")]


def counts(chosen: list[Chosen]) -> dict[tuple[str, str], int]:
    return dict(Counter((one.label, one.split) for one in chosen))


def of_label(chosen: list[Chosen], label: str, *splits: str) -> set[str]:
    return {one.clip.name for one in chosen if one.label == label and (not splits or one.split in splits)}


def test_the_words_are_split_and_all_else_is_left_out(select):
    for split in ("speaker", "random"):
        chosen = select(split=split)
        clips = clips_of(*sorted(WORDS))
        split_of = split_clips(clips, split, 1).split_of
        assert {one.clip.name: one.split for one in chosen} == {clip.name: split_of(clip) for clip in clips}
        assert all(one.label == one.clip.word for one in chosen)
        assert [one.clip.name for one in chosen] == [clip.name for clip in clips]


@pytest.mark.parametrize("unknown", [0.5, 1.0, 2.5])
def test_other_words_become_unknown_in_the_proportion_asked_for(select, unknown):
    chosen = select(unknown=unknown)
    wanted = {
        "train": round(unknown * PER_WORD["train"]),
        "validation": PER_WORD["validation"],
        "test": PER_WORD["test"],
    }
    assert counts(chosen) == {(word, split): PER_WORD[split] for word in WORDS for split in SPLITS} | {
        (UNKNOWN, split): number for split, number in wanted.items()
    }
    unknowns = [one for one in chosen if one.label == UNKNOWN]
    assert {one.clip.word for one in unknowns} == set(OTHERS)
    assert all(one.split == speaker_split(one.clip.speaker) for one in unknowns)


def test_all_other_words_are_unknown_where_there_are_no_more(select):
    chosen = select(unknown=20.0)
    assert of_label(chosen, UNKNOWN, "train") == {
        clip.name for clip in clips_of(*OTHERS) if speaker_split(clip.speaker) == "train"
    }


def test_which_clips_are_unknown_depends_on_their_names_alone(select):
    chosen = select(unknown=1.0)
    assert of_label(select(unknown=1.0, seed=9), UNKNOWN) == of_label(chosen, UNKNOWN)
    assert of_label(chosen, UNKNOWN, "train") < of_label(select(unknown=1.5), UNKNOWN, "train")


@pytest.mark.parametrize("silence", [0.5, 2.0])
def test_clips_of_silence_are_made_in_the_proportion_asked_for(select, silence):
    chosen = [one for one in select(silence=silence, unknown=5.0) if one.label == SILENCE]
    assert Counter(one.split for one in chosen) == {
        "train": round(silence * PER_WORD["train"]),
        "validation": PER_WORD["validation"],
        "test": PER_WORD["test"],
    }
    assert len({one.clip.speaker for one in chosen if is_nobody(one.clip.speaker)}) == len(chosen)
    assert len({one.clip.name for one in chosen}) == len(chosen)
    assert not {one.clip.name for one in chosen} & {clip.name for clip in RECORDINGS}


def test_however_few_are_asked_for_there_is_one_clip_of_a_class_to_train_on(select):
    chosen = counts(select(unknown=1e-4, silence=1e-4))
    assert chosen[UNKNOWN, "train"] == chosen[SILENCE, "train"] == 1


def test_a_test_data_set_is_the_whole_test_split(select):
    chosen = select(tested=TESTED)
    tested = [one for one in chosen if one.split == "test"]
    assert sorted(one.clip.name for one in tested) == sorted(clip.name for clip in TESTED if clip.word in WORDS)
    assert all(one.label == one.clip.word for one in tested)
    assert {one.split for one in chosen} == {*SPLITS, UNHEARD["test"]}


def test_with_a_test_data_set_the_own_test_speakers_remain_unused(select):
    chosen = select(tested=TESTED, unknown=2.0, silence=1.0)
    heard = {one.clip.speaker for one in chosen if one.split in ("train", "validation")}
    assert {who for who in heard if not is_nobody(who)} == {
        speaker for speaker in SPEAKERS if speaker_split(speaker) != "test"
    }
    own = {clip.name for clip in RECORDINGS}
    assert not own & {one.clip.name for one in chosen if one.split not in ("train", "validation")}


def test_other_words_of_a_test_data_set_are_unheard_and_kept_from_training(select):
    theirs = {clip.name for clip in TESTED if clip.word in ("dog", "wolf")}
    chosen = select(tested=TESTED, unknown=20.0)
    assert of_label(chosen, UNKNOWN, UNHEARD["test"]) == theirs
    assert {one.clip.word for one in chosen if one.label == UNKNOWN and one.split in SPLITS} == {"bird", "cat"}
    assert (UNKNOWN, "test") not in counts(chosen)
    without = select(tested=TESTED)  # without _unknown_ they are none of the words, too
    assert {one.clip.name for one in without if one.split == UNHEARD["test"]} == theirs


def test_clips_of_unknown_and_silence_in_a_test_data_set_are_tested_where_these_classes_are_on(select):
    classes = clips_of(UNKNOWN, SILENCE, "_background_noise_", speakers=["x1", "x2"], folder="test/")
    for unknown, silence in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        chosen = select(tested=TESTED + classes, unknown=unknown, silence=silence)
        wanted = {label for label, on in ((UNKNOWN, unknown), (SILENCE, silence)) if on}
        assert {one.label for one in chosen if one.split == "test"} == {*WORDS, *wanted}
        own = {clip.name for clip in classes if clip.word == UNKNOWN}
        assert (own <= of_label(chosen, UNKNOWN, UNHEARD["test"])) == (not unknown)
        for label in wanted:
            assert of_label(chosen, label, "test") == {clip.name for clip in classes if clip.word == label}
        assert not {clip.name for clip in classes if clip.word == "_background_noise_"} & {c.clip.name for c in chosen}


def test_silence_is_made_for_a_test_data_set_that_has_none(select):
    chosen = select(tested=TESTED, silence=1.0)
    assert {one.split for one in chosen if one.label == SILENCE} == set(SPLITS)
    assert counts(chosen)[SILENCE, "test"] == 3  # as many as a word has


@pytest.mark.parametrize("how", ["speaker", "random"])
def test_who_speaks_in_a_test_data_set_is_kept_from_training(select, how):
    shared = SPEAKERS[::3]
    chosen = select(tested=clips_of(*WORDS, speakers=shared), unknown=2.0, split=how)
    heard = {one.clip.speaker for one in chosen if one.split in ("train", "validation")}
    assert heard
    assert not heard & set(shared)
    assert of_label(chosen, "yes", "test") == {f"yes/{speaker}_nohash_0.wav" for speaker in shared}


def test_a_test_data_set_with_all_our_speakers_leaves_nothing_to_train_on(select):
    with pytest.raises(UserError, match="train"):
        select(tested=clips_of(*WORDS))


def trained(chosen) -> list:
    return [one for one in chosen if one.split == "train"]


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_the_share_of_the_training_data_is_one_of_the_people_with_all_their_clips(select, share):
    """E11: all people stayed in training at any share."""
    full, part = (select(unknown=2.0, silence=0.5, train_share=s) for s in (1.0, share))
    people, drawn = ({o.clip.speaker for o in trained(c) if not is_nobody(o.clip.speaker)} for c in (full, part))
    assert drawn <= people
    wanted = max(1, round(share * len(people)))
    assert wanted <= len(drawn) <= wanted + len(counts(full))  # one more where nobody drawn says a class
    if share > 0.1:
        assert len(drawn) == wanted
        assert {o for o in trained(full) if o.clip.speaker in drawn} <= {*part}
    assert {key for key in counts(part) if key[1] == "train"} == {key for key in counts(full) if key[1] == "train"}
    made = [sum(is_nobody(one.clip.speaker) for one in trained(chosen)) for chosen in (full, part)]
    assert made[1] == max(1, round(share * made[0]))  # silence is nobody's: it is drawn clip by clip
    assert [one for one in part if one.split != "train"] == [one for one in full if one.split != "train"]


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_where_the_split_is_by_clip_the_share_is_one_of_the_clips_of_each_class(select, share):
    full, part = (counts(select(split="random", unknown=2.0, silence=0.5, train_share=s)) for s in (1.0, share))
    assert part == {
        (label, split): max(1, round(share * number)) if split == "train" else number
        for (label, split), number in full.items()
    }


@pytest.mark.parametrize("split", ["speaker", "random"])
def test_a_larger_share_holds_a_smaller_one(select, split):
    shares = [
        select(split=split, unknown=2.0, silence=0.5, train_share=share) for share in (0.01, 0.05, 0.1, 0.3, 0.6, 1.0)
    ]
    for smaller, larger in itertools.pairwise(shares):
        assert set(smaller) <= set(larger)
    assert len({len(share) for share in shares}) > 4


def test_unknown_without_other_words_is_an_error_that_says_what_to_do(select):
    for recordings, tested in ((clips_of(*WORDS, "_background_noise_"), None), (clips_of(*WORDS, "dog"), TESTED)):
        with pytest.raises(UserError, match=r"^unknown: the data set has no other words .* silence above 0\)$"):
            select(recordings, tested, unknown=1.0)


def test_unknown_without_other_words_for_a_split_is_an_error_that_says_which(select):
    with pytest.raises(UserError, match=r"^unknown: no clip of the data set's other words is for validation; add some"):
        select(clips_of(*WORDS) + clips_of("dog", speakers=SPEAKERS[:2]), unknown=1.0)


def test_people_are_moved_for_the_unknown_class_too_and_are_in_one_split_for_all_classes(select):
    only_test = [speaker for speaker in SPEAKERS if speaker_split(speaker) == "test"]
    chosen = select(clips_of(*WORDS) + clips_of("dog", speakers=only_test), unknown=1.0)
    assert {one.split for one in chosen if one.label == UNKNOWN} == set(SPLITS)
    assert len({(one.clip.speaker, one.split) for one in chosen}) == len(SPEAKERS)


def test_a_word_that_is_missing_is_an_error(select):
    with pytest.raises(UserError, match="no clip of maybe; it has bird, cat, dog, no, yes"):
        select(words=("yes", "maybe"))
    two = [clip for clip in RECORDINGS if clip.word != "no" or clip.speaker in SPEAKERS[:2]]
    with pytest.raises(
        UserError, match=r"^no usable clip of no in validation \(2 recordings in all\): record more.*make folds"
    ):
        select(two)
    assert counts(select(two, TESTED))["no", "validation"] == 1  # two do, where the test has clips of its own
    one = [clip for clip in RECORDINGS if clip.word != "no" or clip.speaker == SPEAKERS[0]]
    with pytest.raises(UserError, match=r"^no usable clip of no in validation \(4 recordings in all\)"):
        select(one, TESTED)
    with pytest.raises(UserError, match=r"^no usable clip of no in test \("):
        select(tested=[clip for clip in TESTED if clip.word != "no"])


def test_a_word_of_few_people_is_in_every_split(select):
    only_training = [clip for clip in RECORDINGS if clip.word != "no" or speaker_split(clip.speaker) == "train"]
    chosen = select(only_training)
    assert {one.split for one in chosen if one.label == "no"} == set(SPLITS)
    moved = {one.clip.speaker for one in chosen if one.split != speaker_split(one.clip.speaker)}
    assert len(moved) == 2


def test_nobody_is_moved_in_a_published_set(select):
    only_training = [clip for clip in RECORDINGS if clip.word != "no" or speaker_split(clip.speaker) == "train"]
    with pytest.raises(UserError, match=r"^no usable clip of no in validation and test \(\d+ recordings in all\)"):
        select(only_training, dataset="speech_commands")
    chosen = select(dataset="speech_commands")
    in_split = {one.clip.name: one.split.removeprefix("unheard_") for one in chosen}
    assert all(in_split[one.clip.name] == speaker_split(one.clip.speaker) for one in chosen)


def test_with_a_test_data_set_small_sets_are_used_whole(make_selection):
    people = ["ada", "bob", "cy"]
    clips = [Clip(f"{word}/{name}/0.wav", word, name) for word in WORDS for name in people]
    selection = make_selection(clips, TESTED)
    assert {one.clip.name for one in selection.clips if one.split in SPLITS[:2]} == {clip.name for clip in clips}
    assert without_unheard(selection.remarks) == []
    unused = without_unheard(make_selection(tested=TESTED).remarks)
    assert unused == [f"{2 * PER_WORD['test']} clips for the test are not used: test_dataset is the test"]


def copies(word: str, *names: str, content: str, split: str = "") -> list[Clip]:
    return [Clip(f"{word}/{name}_nohash_9.wav", word, name, split, content) for name in names]


def test_what_is_left_out_is_told_with_its_class_and_reason(make_selection):
    heard = next(speaker for speaker in SPEAKERS if speaker_split(speaker) == "train")
    tested = next(speaker for speaker in SPEAKERS if speaker_split(speaker) == "test")
    selection = make_selection(RECORDINGS + copies("no", heard, tested, content="d1"))
    copy, other = copies("no", heard, tested, content="d1")
    assert {(one.clip.name, one.label, one.split): reason for one, reason in selection.left_out.items()} == {
        (copy.name, "no", ""): f"copy: of {other.name}, which is in test"
    }
    assert copy.name not in {one.clip.name for one in selection.clips}
    first, second = sorted([copy.name, other.name])
    told = f"1 clip is a copy of another ({second} of {first}): 1 left out, since a copy is in another split"
    assert without_unheard(selection.remarks) == [told]


def test_a_test_data_set_that_shares_recordings_with_training_is_refused(select):
    heard = [name for name in SPEAKERS if speaker_split(name) == "train"][:5]
    own = [one for number, name in enumerate(heard) for one in copies("yes", name, content=f"d{number}")]
    shared = [Clip(f"yes/new{number}.wav", "yes", f"new{number}", "", f"d{number}") for number in range(5)]
    with pytest.raises(
        UserError, match=rf"^test_dataset: 5 of its .* yes/new0\.wav \({own[0].name} in train\), .* …; "
    ):
        select(RECORDINGS + own, TESTED + shared)
    with pytest.raises(UserError, match=r"^test_dataset: 1 of its .* in train\); take them out"):
        select(RECORDINGS + own, TESTED + shared[:1])
    # Copies of people who are in the test data set, too, are not in training: nothing is shared
    same = [Clip(f"test/yes/{name}.wav", "yes", name, "", f"d{number}") for number, name in enumerate(heard)]
    assert "test/yes/" + heard[0] + ".wav" in of_label(select(RECORDINGS + own, TESTED + same), "yes", "test")


def test_in_a_cross_validation_everybody_is_tested_once_and_nobody_in_training_is(select):
    tested: Counter[str] = Counter()
    for fold in range(1, 6):
        chosen = select(fold=f"{fold}/5", unknown=1.0, silence=0.5)
        assert {one.split for one in chosen} == set(SPLITS)
        by_split = {split: {one.clip.speaker for one in chosen if one.split == split} for split in SPLITS}
        assert not by_split["test"] & (by_split["train"] | by_split["validation"])
        tested.update(one.clip.name for one in chosen if one.split == "test" and one.label in WORDS)
    assert tested == Counter(clip.name for clip in clips_of(*WORDS))


def test_a_word_that_only_tested_people_say_is_an_error(make_params):
    params = make_params(words=WORDS, fold="2/3")
    there = [Chosen(clip, clip.word, split) for split in SPLITS for clip in clips_of(*WORDS, speakers=[split])]
    check_classes(tally(there), params)
    check_classes(tally([one for one in there if (one.label, one.split) != ("no", "test")]), params)
    with pytest.raises(UserError, match=r"^fold 2/3: nobody in training says no; more people must say it$"):
        check_classes(tally([one for one in there if (one.label, one.split) != ("no", "train")]), params)
    without_test = [one for one in there if one.split != "test"]
    computed = [Chosen(clip, clip.word, "test") for clip in beside(test=list(WORDS))]
    with pytest.raises(UserError, match=r"^fold 2/3: no usable recording is in test$"):
        check_classes(
            tally([*without_test, *computed]), params
        )  # the computed voices of a test are the same in every fold


def test_recordings_of_other_words_and_of_silence_are_used_as_such(make_selection):
    own = [Clip(f"{word}/{speaker}/0.wav", word, speaker) for word in (UNKNOWN, SILENCE) for speaker in SPEAKERS]
    selection = make_selection([*clips_of(*WORDS), *own], unknown=1.0, silence=2.0)
    unknown = {one.clip.name for one in selection.clips if one.label == UNKNOWN}
    assert unknown == {clip.name for clip in own if clip.word == UNKNOWN}
    silent = [one for one in selection.clips if one.label == SILENCE]
    made = [one for one in silent if is_nobody(one.clip.speaker)]
    assert {one.clip.name for one in silent} - {one.clip.name for one in made} == {
        clip.name for clip in own if clip.word == SILENCE
    }
    assert Counter(one.split for one in made) == {"train": PER_WORD["train"]}  # as many again, in training alone
    assert without_unheard(selection.remarks) == [
        f"200 recordings of {SILENCE} are used, and {len(made)} more are made of background"
    ]
    unused = make_selection([*clips_of(*WORDS), *own])
    assert {one.label for one in unused.clips} == set(WORDS)
    assert without_unheard(unused.remarks) == [
        f"200 recordings of {name} are not used: {parameter} is 0"
        for name, parameter in ((UNKNOWN, "unknown"), (SILENCE, "silence"))
    ]


def test_people_of_the_test_data_set_are_left_out_by_name_and_those_without_a_name_are_not(make_selection):
    named = [Clip(f"{word}/{who}/{take}.wav", word, who) for word in WORDS for who in "abcd" for take in range(3)]
    tests = [Clip(f"{word}/a/9.wav", word, "a") for word in WORDS] + [Clip("wolf/b/0.wav", "wolf", "b")]
    selection = make_selection(named, tests)
    # b says another word there, with which false alarms are measured
    assert {one.clip.speaker for one in selection.clips if one.split in SPLITS[:2]} == {"c", "d"}
    assert set(selection.left_out.values()) == {"its speaker is in the test data set"}
    assert {one.clip.name for one in selection.left_out} == {clip.name for clip in named if clip.speaker in "ab"}
    unnamed = [Clip(f"{word}/{take}.wav", word, f"{word}/{take}.wav") for word in WORDS for take in range(20)]
    selection = make_selection(unnamed, unnamed[:3] + unnamed[20:23])
    assert not selection.left_out
    assert len([one for one in selection.clips if one.split != "test"]) == 40


def test_copies_in_the_test_data_set_are_told(make_selection):
    tests = [Clip(f"{word}/x/{take}.wav", word, "x", content=word) for word in WORDS for take in range(2)]
    told = "test_dataset: 2 clips are copies of another (yes/x/1.wav of yes/x/0.wav, no/x/1.wav of no/x/0.wav): each"
    assert any(remark.startswith(told) for remark in make_selection(tested=tests).remarks)


# Speakers in `_unknown_`: E7


def test_who_says_another_word_in_the_test_data_set_is_kept_from_training_too(make_selection):
    """Real names of the official test set of Speech Commands, and one that would be a leak: a speaker of training."""
    there = next(speaker for speaker in (f"{n:08x}" for n in range(99)) if speaker_split(speaker) == "train")
    others = ["backward_0c540988_nohash_0.wav.wav", f"bed_{there}_nohash_0.wav.wav", "zero_db24628d_nohash_3.wav.wav"]
    names = [f"{word}/{speaker}_nohash_0.wav" for word in WORDS for speaker in ("0c40e715", "0c5027de")]
    tests = understand(contents_of([*names, *(f"_unknown_/{other}" for other in others)]), WORDS).clips
    own = clips_of(*WORDS, *OTHERS, speakers=[*SPEAKERS, there, "0c540988"])
    for unknown in (0.0, 1.0):
        selection = make_selection(own, tests, unknown=unknown)
        heard = {one.clip.speaker for one in selection.clips if one.split in SPLITS[:2]}
        assert heard
        assert not heard & {"0c540988", there, "db24628d"}
        left_out = {one.clip.speaker for one in selection.left_out}
        assert left_out == {"0c540988", there}


# Words that training does not hear

MANY = [f"{number:04d}" for number in range(400)]
VOCABULARY = ("bird", "cat", "dog", "eight", "five", "four", "happy", "house", "marvin", "nine")
BIG = clips_of(*WORDS, *VOCABULARY, speakers=MANY)


def of_split(chosen: list[Chosen], *splits: str) -> list[Clip]:
    return [one.clip for one in chosen if one.split in splits]


def people_of_splits(chosen: list[Chosen]) -> dict[str, set[str]]:
    return {
        split: {clip.speaker for clip in of_split(chosen, split) if not is_nobody(clip.speaker)}
        for split in (*SPLITS, *UNHEARD.values())
    }


@pytest.mark.parametrize("dataset", ["speech_commands", "mine"])
@pytest.mark.parametrize("unknown", [0.0, 1.0, 20.0])
def test_unheard_words_are_neither_in_training_nor_in_the_class_and_are_said_by_people_of_the_split(
    make_selection, dataset, unknown
):
    selection = make_selection(BIG, dataset=dataset, unknown=unknown, unheard_words=0.3, silence=0.5)
    chosen = selection.clips
    unheard = {clip.word for clip in of_split(chosen, *UNHEARD.values())}
    assert len(unheard) == (3 if unknown else len(VOCABULARY))
    assert not unheard & {one.clip.word for one in chosen if one.split in SPLITS}
    people = people_of_splits(chosen)
    assert people["unheard_validation"]
    assert people["unheard_test"]
    assert not people["unheard_validation"] & (people["train"] | people["test"] | people["unheard_test"])
    assert not people["unheard_test"] & (people["train"] | people["validation"])
    assert {one.label for one in chosen if one.split in UNHEARD.values()} == {UNKNOWN}
    number, said = len(of_split(chosen, "unheard_test")), {clip.word for clip in of_split(chosen, "unheard_test")}
    named = ", ".join(sorted(said))
    assert (
        f"other words for test, which training does not hear: {number} clips of {len(said)} words ({named})"
        in selection.remarks
    )


@pytest.mark.parametrize("unknown", [0.0, 1.0])
@pytest.mark.parametrize("split", ["speaker", "random"])
def test_the_other_words_of_validation_and_test_are_not_the_same(make_selection, unknown, split):
    """They were: the threshold was chosen on the words that it was tested with."""
    for share in (0.2, 0.5, 0.9):
        selection = make_selection(BIG, dataset="mine", unknown=unknown, unheard_words=share, split=split)
        words = [{clip.word for clip in of_split(selection.clips, name)} for name in UNHEARD.values()]
        assert all(words)
        assert not words[0] & words[1]
        assert abs(len(words[0]) - len(words[1])) <= 1
        assert len(words[0] | words[1]) == (round(share * len(VOCABULARY)) if unknown else len(VOCABULARY))
        assert not any("are the same" in remark for remark in selection.remarks)


def test_where_training_leaves_out_one_word_validation_and_test_share_it_and_a_line_says_so(make_selection):
    selection = make_selection(BIG, dataset="mine", unknown=1.0, unheard_words=0.01)
    [word] = {clip.word for clip in of_split(selection.clips, UNHEARD["validation"])}
    assert {clip.word for clip in of_split(selection.clips, UNHEARD["test"])} == {word}
    line = f"other words for validation and test are the same, since training leaves out only {word}: thresholds are "
    assert line + "chosen on the word that they are tested with" in selection.remarks


@pytest.mark.parametrize("unknown", [0.0, 1.0])
def test_where_a_test_data_set_brings_other_words_all_that_training_leaves_out_are_validations(select, unknown):
    """Words of training, and so its clips, do not depend on who tests."""
    theirs = clips_of(*WORDS, "wolf", speakers=["t1"], folder="test/")
    chosen = select(BIG, theirs, dataset="mine", test_dataset="t", unknown=unknown, unheard_words=0.5)
    alone = select(BIG, dataset="mine", unknown=unknown, unheard_words=0.5)
    held = [{clip.word for clip in of_split(clips, *UNHEARD.values())} - {"wolf"} for clips in (chosen, alone)]
    assert held[0] == held[1] == {clip.word for clip in of_split(chosen, UNHEARD["validation"])}
    assert len(held[0]) == (5 if unknown else 10)


def test_the_share_of_the_words_is_kept_and_one_remains_for_training(select):
    for share, number in ((0.0, 0), (0.01, 1), (0.2, 2), (0.9, 9)):
        chosen = select(BIG, dataset="mine", unknown=1.0, unheard_words=share)
        held = {clip.word for clip in of_split(chosen, *UNHEARD.values())}
        trained = {one.clip.word for one in chosen if one.split == "train" and one.label == UNKNOWN}
        assert (len(held), len(trained)) == (number, 10 - number)
    for share in (0.2, 0.9):  # a larger share holds a smaller one
        assert held >= {
            clip.word
            for clip in of_split(select(BIG, dataset="mine", unknown=1.0, unheard_words=share), *UNHEARD.values())
        }
    only_dog = [clip for clip in BIG if clip.word in (*WORDS, "dog")]
    chosen = select(only_dog, dataset="mine", unknown=1.0, unheard_words=0.9)
    assert not of_split(chosen, *UNHEARD.values())  # computed voices speak instead
    assert of_label(chosen, UNKNOWN, "train")


def test_which_words_and_clips_are_unheard_depends_on_no_seed(select):
    chosen = select(BIG, dataset="mine", unknown=1.0)
    assert select(BIG, dataset="mine", unknown=1.0, seed=7) == chosen


def test_the_words_of_training_and_validation_do_not_depend_on_the_unheard_words(select):
    """Without class `_unknown_`: records of training and validation stay what they were."""
    with_others = select(BIG, dataset="mine")
    without = select(clips_of(*WORDS, speakers=MANY), dataset="mine")
    assert [one for one in with_others if one.split in SPLITS] == without


def test_of_many_clips_two_thousand_are_drawn_with_words_as_even_as_there_are_clips(make_selection):
    people = [f"{number:05d}" for number in range(12_000) if speaker_split(f"{number:05d}") == "test" or number < 500]
    rare, *often = dealt_words(VOCABULARY[:6])["test"]
    few = people[:400]
    selection = make_selection(
        clips_of(*WORDS, *{*VOCABULARY[:6]} - {rare}, speakers=people) + clips_of(rare, speakers=few), dataset="mine"
    )
    of_word = Counter(clip.word for clip in of_split(selection.clips, "unheard_test"))
    assert of_word.total() == 2000
    assert of_word[rare] == sum(speaker_split(speaker) == "test" for speaker in few) < 60
    assert max(of_word[word] for word in often) - min(of_word[word] for word in often) <= 1
    assert any("2000 clips of " in remark for remark in selection.remarks)


def test_people_who_say_other_words_alone_are_dealt_to_validation_and_test(select):
    others = [Clip(f"{word}/x{n}/0.wav", word, f"x{n}") for word in OTHERS for n in range(200)]
    people = people_of_splits(select([*clips_of(*WORDS), *others], dataset="mine"))
    assert people["unheard_validation"] | people["unheard_test"] == {f"x{n}" for n in range(200)}
    assert 60 < len(people["unheard_test"]) < 140


def test_in_each_fold_unheard_words_are_said_by_people_of_the_fold(select):
    tested = set()
    for fold in range(1, 6):
        people = people_of_splits(select(BIG, dataset="mine", fold=f"{fold}/5"))
        assert people["unheard_test"] == people["test"]
        assert people["unheard_validation"] == people["validation"]
        tested |= people["unheard_test"]
    assert tested == set(MANY)


def test_given_splits_hold_for_unheard_words_too(select):
    given = [
        Clip(f"{split}/{word}/{split}{n}/0.wav", word, f"{split}{n}", split)
        for split in SPLITS
        for word in (*WORDS, *OTHERS)
        for n in range(20)
    ]
    chosen = select(given, dataset="mine")
    for split, name in UNHEARD.items():
        assert {clip.split for clip in of_split(chosen, name)} == {split}
    assert sorted(len(of_split(chosen, name)) for name in UNHEARD.values()) == [20, 40]  # one word, and two


def test_with_two_folds_validation_shares_its_people_and_that_is_said(make_selection):
    takes = [Clip(f"{word}/p{n}/{t}.wav", word, f"p{n}") for word in WORDS for n in range(60) for t in range(10)]
    others = [Clip(f"dog/p{n}/{t}.wav", "dog", f"p{n}") for n in range(60) for t in range(5)]
    selection = make_selection([*takes, *others], dataset="mine", fold="1/2")
    assert of_split(selection.clips, "unheard_validation")
    assert (
        "other words for validation are said by people who are in another split, too: false alarms may be too few"
        in selection.remarks
    )


def test_with_a_random_split_validation_and_test_have_other_people_for_other_words(select):
    people = people_of_splits(select(BIG, dataset="mine", split="random"))
    assert people["unheard_validation"]
    assert people["unheard_test"]
    assert not people["unheard_validation"] & people["unheard_test"]


def test_a_copy_of_a_clip_of_training_is_no_unheard_word(select):
    copied = [replace(clip, content=clip.speaker) for clip in BIG if clip.word in ("yes", "dog")]
    rest = [clip for clip in BIG if clip.word not in ("yes", "dog")]
    assert "dog" not in {clip.word for clip in of_split(select(rest + copied, dataset="mine"), *UNHEARD.values())}


def test_where_a_data_set_has_few_other_words_computed_voices_say_some(make_params):
    computed = [Clip(f"_other_speech_/{split}.wav", "camera", f"computed-{split}", split) for split in UNHEARD]
    few = clips_of(*WORDS) + clips_of("dog", speakers=SPEAKERS[:30])
    for recordings in (clips_of(*WORDS), few, clips_of(*WORDS, UNKNOWN)):
        params = make_params(words=WORDS, dataset="mine", unknown=1.0 if recordings[-1].word == UNKNOWN else 0.0)
        origins = origins_of(recordings, (), params)
        assert set(origins.values()) == {"computed"}
        chosen = choose(recordings, None, params, origins, computed).clips
        for split, name in UNHEARD.items():
            assert [clip.speaker for clip in of_split(chosen, name)] == [f"computed-{split}"]
    params = make_params(words=WORDS, dataset="synthetic", unknown=5.0)
    assert set(origins_of(BIG, (), params).values()) == {"computed"}


@pytest.mark.parametrize(
    ("dataset", "theirs", "origin"),
    [
        ("speech_commands", (*WORDS, "wolf"), "test_dataset"),
        ("speech_commands", WORDS, "dataset"),  # by its own people of the test
        ("mine", WORDS, "computed"),  # everybody is in training or validation
    ],
)
def test_where_unheard_words_of_the_test_come_from(make_params, dataset, theirs, origin):
    params = make_params(words=WORDS, dataset=dataset, test_dataset="theirs")
    tests = clips_of(*theirs, speakers=["t1"], folder="test/")
    origins = origins_of(BIG, tests, params)
    assert origins == {"unheard_validation": "dataset", "unheard_test": origin}
    people = people_of_splits(choose(BIG, tests, params, origins).clips)
    if origin == "dataset":
        assert people["unheard_test"]
        assert not people["unheard_test"] & (people["train"] | people["validation"])


def test_a_folder_that_is_written_almost_as_a_word_is_no_unheard_word(select):
    chosen = select(BIG + clips_of("Yes", speakers=MANY), dataset="mine")
    assert "Yes" not in {one.clip.word for one in chosen}


def test_words_of_the_test_data_set_are_not_heard_before(select):
    chosen = select(BIG, clips_of(*WORDS, "dog", speakers=["t1"], folder="test/"), dataset="mine", test_dataset="t")
    assert {clip.word for clip in of_split(chosen, "unheard_test")} == {"dog"}
    assert "dog" not in {clip.word for clip in of_split(chosen, "train", "validation", "unheard_validation")}


def test_a_stream_without_other_speech_is_refused_in_one_line(select, make_params):
    """It was silently made without, and evaluate failed at an empty list."""
    chosen = select(BIG, dataset="mine", unknown=1.0)
    check_unheard(tally(chosen), make_params(unknown=1.0))
    usable = [one for one in chosen if one.split != UNHEARD["test"]]
    for unknown, way in ((1.0, "set unheard_words to 0"), (0.0, "take away those that are there")):
        with pytest.raises(UserError, match=f"is left for the stream of test: add recordings of other words, or {way}"):
            check_unheard(tally(usable), make_params(unknown=unknown))


# Many names


def peak_of(names: int, params: Params) -> int:
    """The most memory that it takes to choose among so many clips, and to read the chosen ones."""
    clips = Repeatable(
        lambda: (
            Clip(
                f"w{n // (names // 20):02d}/{n:08x}.wav", f"w{n // (names // 20):02d}", f"{n % 50:02d}", "", f"{n:016x}"
            )
            for n in range(names)
        )
    )
    origins = origins_of(clips, (), params)
    tracemalloc.start()
    selection = splits.choose(clips, None, params, origins)
    assert sum(1 for _ in selection.clips) == selection.tally.total() > names / 5
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize(
    "changes", [{"unknown": 1.0}, {"split": "random", "train_share": 0.5}, {"fold": "1/5", "silence": 1.0}]
)
def test_no_memory_is_taken_for_each_name_since_there_may_be_millions(make_params, monkeypatch, changes):
    """A key of 8 bytes is, and of a random split the lots of a fifth: 20 bytes a name. A name itself would take 60."""
    # so few that few names have them, too: their number has a limit
    monkeypatch.setattr(splits, "some_of_each_word", partial(some_of_each_word, most=50))
    # 2,000 in fact: few names would be below that limit
    monkeypatch.setattr(splits, "some_of_each_word", partial(some_of_each_word, most=50))
    params = make_params(words=tuple(f"w{n:02d}" for n in range(10)), dataset="mine", **changes)
    peak_of(100, params)
    assert peak_of(10_000, params) - peak_of(1000, params) < 9000 * 60


# Computed voices that speak beside people

VOICES = {"train": 40, "validation": 4, "test": 4}


def beside(**words_of: list[str]) -> list[Clip]:
    """What computed voices say, by the split of the voice."""
    return [
        Clip(
            f"_computed_/{word}/computed-{split}-{number:04d}_nohash_0.wav",
            word,
            f"computed-{split}-{number:04d}",
            split,
        )
        for split, words in words_of.items()
        for number in range(VOICES[split])
        for word in words
    ]


@pytest.fixture
def mixed(make_params):
    """Chooses clips of these recordings and of computed voices beside them."""

    def run(computed: list[Clip], recordings=RECORDINGS, tested=None, words=WORDS, **changes) -> Selection:
        params = make_params(dataset="speech_commands", words=words, **changes)
        return choose(recordings, tested, params, origins_of(recordings, tested or (), params), computed)

    return run


def test_computed_voices_are_in_training_alone_where_people_say_the_word(mixed, select):
    computed = beside(train=list(WORDS))
    selection = mixed(computed)
    people = select(dataset="speech_commands")
    assert [one for one in selection.clips if one.clip not in computed] == people
    assert selection.clips[: len(people)] == people  # so that pictures show people
    assert {(one.label, one.split) for one in selection.clips[len(people) :]} == {(word, "train") for word in WORDS}
    assert "of computed voices: 80 train" in selection.remarks


def test_a_word_without_recordings_is_in_every_split_by_computed_voices(mixed):
    words = (*WORDS, "kettle")
    selection = mixed(beside(train=list(words), validation=["kettle"], test=["kettle"]), words=words)
    found = counts(selection.clips)
    assert {split: found["kettle", split] for split in SPLITS} == VOICES
    assert {split: found["yes", split] for split in SPLITS} == PER_WORD | {"train": PER_WORD["train"] + 40}
    assert (
        "of computed voices: 120 train, 4 validation, 4 test; in validation or test nobody else says 1 of the classes "
        "(kettle): their figures are not those of people"
    ) in selection.remarks
    with pytest.raises(UserError, match=r"^words: the data set has no clip of spoon; it has bird"):
        mixed(beside(train=list(words), validation=["kettle"], test=["kettle"]), words=(*words, "spoon"))


@pytest.mark.parametrize("unknown", [0.5, 1.0, 3.0])
def test_computed_voices_have_the_same_share_of_other_words_as_of_the_words(mixed, unknown):
    others = ["bread", "red", "guess"]
    computed = beside(train=[*WORDS, *others], validation=others, test=others)
    chosen = mixed(computed, unknown=unknown).clips
    made = [one for one in chosen if one.clip in computed and one.label == UNKNOWN]
    assert Counter(one.split for one in made) == {
        "train": round(40 * unknown)
    }  # people say some to validation and test
    wanted = round(unknown * (PER_WORD["train"] + 40))
    there = 40 * unknown + 2 * PER_WORD["train"]  # a third of the other words is unheard
    assert counts(chosen)[UNKNOWN, "train"] == min(wanted, there)
    assert counts(chosen)[UNKNOWN, "validation"] == PER_WORD["validation"]


def test_where_unknown_has_fewer_clips_than_wanted_a_line_says_so(mixed):
    """One recording in validation leaves all computed voices out of it."""
    computed = beside(train=[*WORDS, "bread", "red"], validation=["bread", "red"], test=["bread", "red"])
    recordings = clips_of(*WORDS)
    of_split = {split: [s for s in SPEAKERS if speaker_split(s) == split] for split in SPLITS}
    few = [speaker for split in SPLITS for speaker in of_split[split][:1]]
    remarks = mixed(computed, [*recordings, *clips_of("bird", speakers=few)], unknown=2.0).remarks
    wanted = PER_WORD["validation"]
    assert (
        f"_unknown_: validation has 1 clips of {wanted} that were wanted; 8 of computed voices are left out, since "
        "people say some"
    ) in remarks
    in_training = f"_unknown_: train has 81 clips of {2 * (PER_WORD['train'] + 40)} that were wanted"
    assert in_training in remarks  # those of computed voices are all used
    assert not [line for line in mixed(computed, unknown=0.5).remarks if "wanted" in line]


def test_computed_voices_make_unknown_where_people_say_no_other_words(mixed):
    others = ["bread", "red", "guess"]
    computed = beside(train=[*WORDS, *others], validation=others, test=others)
    recordings = clips_of(*WORDS, speakers=SPEAKERS[:20])
    chosen = mixed(computed, recordings, unknown=2.0)
    found = counts(chosen.clips)
    assert found[UNKNOWN, "train"] == 2 * found["yes", "train"] == 2 * (40 + 16)
    for split in ("validation", "test"):
        assert found[UNKNOWN, split] == min(12, found["yes", split])
    with pytest.raises(UserError, match=r"^unknown: the data set has no other words"):
        mixed(beside(train=list(WORDS)), recordings, unknown=2.0)


def test_other_words_of_computed_voices_are_in_the_split_of_the_test_only_without_a_test_data_set(mixed):
    others = ["bread", "red", "guess"]
    computed = beside(train=[*WORDS, *others], validation=others, test=others)
    chosen = mixed(computed, tested=TESTED, unknown=1.0, test_dataset="theirs").clips
    assert not [one for one in chosen if one.clip in computed and one.split == "test"]


def test_a_share_of_training_is_one_of_the_recordings(mixed):
    computed = beside(train=list(WORDS))
    chosen = mixed(computed, train_share=0.1).clips
    assert [one.clip for one in chosen if one.split == "train" and one.clip in computed] == sorted(
        computed, key=lambda clip: clip.name
    )
    assert len([one for one in chosen if one.split == "train"]) < 80 + 0.2 * 2 * PER_WORD["train"]


def test_other_speech_and_voices_beside_people_are_not_mixed_up(make_params):
    recordings = clips_of(*WORDS)
    params = make_params(dataset="mine", words=WORDS)
    speech = [Clip(f"_other_speech_/{split}.wav", "camera", f"computed-{split}", split) for split in UNHEARD]
    words = beside(train=list(WORDS))
    chosen = choose(recordings, None, params, origins_of(recordings, (), params), [*words, *speech]).clips
    assert {one.clip for one in chosen if one.split in UNHEARD.values()} == set(speech)
    assert {one.clip for one in chosen if one.split == "train"} >= set(words)


def heard_of(word: str, number: int, folder: str = "") -> list[Clip]:
    return [Clip(f"{folder}{word}/heard-2026-05-31/{n}.flac", word, HOUSEHOLD) for n in range(number)]


def test_what_kws_took_for_a_word_comes_beside_the_other_words_and_in_training_alone(select):
    more = heard_of(UNKNOWN, 7) + heard_of("yes", 5)
    chosen = select(RECORDINGS + more, unknown=0.1)
    assert {one.clip.name: (one.label, one.split) for one in chosen if one.clip.heard} == {
        clip.name: (clip.word, "train") for clip in more
    }
    assert counts(chosen)[UNKNOWN, "train"] == 7 + round(0.1 * (PER_WORD["train"] + 2.5))


def test_words_that_kws_has_heard_are_perhaps_those_that_training_does_not_hear(make_selection):
    told = (
        "training hears 7 clips of other words that kws listen --keep has heard: nobody knows which words, so some of "
    )
    more = heard_of("yes", 5)
    assert make_selection(RECORDINGS + more + heard_of(UNKNOWN, 7), unknown=1.0).remarks[-1].startswith(told)
    assert not [line for line in make_selection(RECORDINGS + more, unknown=1.0).remarks if "kws listen" in line]


def test_what_kws_took_for_a_word_measures_no_false_alarms(make_selection):
    selection = make_selection(RECORDINGS + heard_of(UNKNOWN, 7), unknown=0.0)
    assert not [one for one in selection.clips if one.clip.heard]
    assert f"7 recordings of {UNKNOWN} are not used: unknown is 0" in selection.remarks


def test_what_was_heard_is_no_test_even_in_a_test_data_set(select):
    more = heard_of("yes", 5, "test/") + heard_of(UNKNOWN, 5, "test/")
    chosen = select(tested=TESTED + more, unknown=1.0)
    assert {one.clip.name: one.split for one in chosen} == {
        one.clip.name: one.split for one in select(tested=TESTED, unknown=1.0)
    }
