import csv
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace

import pytest
from conftest import RECORDINGS, needs_recordings
from hypothesis import given
from hypothesis import strategies as st

from kws.core.errors import UserError
from kws.recordings import splits as choosing
from kws.recordings.clips import HOUSEHOLD, SPLITS, Clip
from kws.recordings.people import deal, people_of, speaker_split
from kws.recordings.splits import check_splits

WORDS = ("lamp", "dimmer", "off")


@dataclass
class Splits:
    """What `kws.recordings.splits.Splits` tells of some clips: the splits of those that have one, by their names."""

    split_of: dict[str, str]
    left_out: dict[str, str]
    remarks: tuple[str, ...]


def split_clips(clips: Iterable[Clip], *how, **more) -> Splits:
    return _told(choosing.split_clips, clips, *how, **more)


def fold_clips(clips: Iterable[Clip], fold: int, folds: int) -> Splits:
    return _told(choosing.fold_clips, clips, fold, folds)


def _told(choose, clips: Iterable[Clip], *how, **more) -> Splits:
    clips = sorted(clips, key=lambda clip: clip.name)
    told = choose(clips, *how, **more)
    split_of = {clip.name: split for clip in clips if (split := told.split_of(clip))}
    assert told.left_out.keys() == {clip.name for clip in clips} - split_of.keys()
    return Splits(split_of, told.left_out, told.remarks)


def take(word: str, person: str, number: int = 0, split: str = "", content: str = "") -> Clip:
    return Clip(f"{word}/{person}/{number}.wav", word, person, split, content)


def takes(words, people, number: int = 1) -> list[Clip]:
    return [take(word, person, n) for word in words for person in people for n in range(number)]


def words_in(splits: Splits, clips) -> set[tuple[str, str]]:
    return {(clip.word, splits.split_of[clip.name]) for clip in clips if clip.name in splits.split_of}


def is_everywhere(splits: Splits, clips) -> bool:
    there = words_in(splits, clips)
    return all((word, split) in there for word in {clip.word for clip in clips} for split in SPLITS)


def people_in(splits: Splits, clips) -> dict[str, set[str]]:
    """The speakers of each split."""
    people: dict[str, set[str]] = {split: set() for split in SPLITS}
    for clip in clips:
        if clip.name in splits.split_of:
            people[splits.split_of[clip.name]].add(clip.speaker)
    return people


def are_apart(splits: Splits, clips) -> bool:
    people = people_in(splits, clips)
    return sum(map(len, people.values())) == len(set.union(*people.values()))


def person_in(split: str, prefix: str = "p") -> str:
    return next(f"{prefix}{n}" for n in range(1000) if speaker_split(f"{prefix}{n}") == split)


# The published hash


@needs_recordings
def test_the_speaker_split_agrees_with_every_line_of_the_published_lists():
    with (RECORDINGS / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["official_split"]]
    assert len(rows) > 17_000
    for row in rows:
        name = row["name_in_full_archive"] or row["file"]
        published = row["official_split"].replace("training", "train").replace("testing", "test")
        assert speaker_split(name.split("_nohash_")[0]) == published


def test_known_speakers_keep_their_published_split():
    # From the publishers' validation_list.txt and testing_list.txt.
    assert speaker_split("bb05582b") == "test"
    assert speaker_split("a69b9b3e") == "validation"


def test_published_names_keep_the_published_split_whatever_is_drawn():
    clips = [Clip(f"{word}/{n}_nohash_0.wav", word, str(n)) for word in ("yes", "no") for n in range(500)]
    splits = split_clips(clips, "speaker", seed=1)
    assert splits == Splits(
        {clip.name: speaker_split(clip.speaker) for clip in sorted(clips, key=lambda c: c.name)}, {}, ()
    )
    assert are_apart(splits, clips)
    assert split_clips(clips, "speaker", seed=2) == splits


def test_of_published_names_a_copy_in_training_is_left_out_and_the_official_test_stays():
    clips = [Clip(f"yes/{n}_nohash_0.wav", "yes", str(n)) for n in range(100)]
    in_ = {split: [clip for clip in clips if speaker_split(clip.speaker) == split] for split in SPLITS}
    copied = {in_["train"][0]: "a", in_["test"][0]: "a", in_["validation"][0]: "b", in_["train"][1]: "b"}
    copied |= {in_["test"][1]: "c", in_["validation"][1]: "c", in_["train"][2]: "d", in_["train"][3]: "d"}
    clips = [Clip(clip.name, "yes", clip.speaker, "", copied.get(clip, "")) for clip in clips]
    splits = split_clips(clips, "speaker", seed=1)
    assert splits.left_out == {
        in_["train"][0].name: f"copy: of {in_['test'][0].name}, which is in test",
        in_["train"][1].name: f"copy: of {in_['validation'][0].name}, which is in validation",
        in_["validation"][1].name: f"copy: of {in_['test'][1].name}, which is in test",
    }
    kept = [clip for clip in clips if clip.name not in splits.left_out]
    assert splits.split_of == {clip.name: speaker_split(clip.speaker) for clip in sorted(kept, key=lambda c: c.name)}
    [remark] = splits.remarks
    assert remark.startswith("4 clips are copies of another (yes/")
    assert remark.endswith(" and 1 more): 3 left out, since a copy is in another split")


# Few people


@pytest.mark.parametrize("number", [2, 3, 5, 10, 20])
def test_small_sets_have_every_word_in_every_split(number):
    """With the hash alone, 0 to 90 of 100 sets had; with a random split that is not stratified, 0 to 100."""
    rng = random.Random(number)
    for trial in range(20):
        people = [f"{trial}-{rng.random():.6f}" for _ in range(number)]
        for count in range(1, 6):
            clips = takes(WORDS, people, count)
            if number * count < 3:  # two people with a take each
                continue
            splits = split_clips(clips, "speaker", seed=1)
            assert is_everywhere(splits, clips)
            assert are_apart(splits, clips) == (splits.remarks == ()) == (number > 2)
            assert is_everywhere(split_clips(clips, "random", seed=trial), clips)
            if number > 4:
                assert Counter(splits.split_of.values())["train"] >= len(clips) / 2


def test_no_more_people_are_moved_than_needed():
    for missing in SPLITS:
        names = [f"p{n}" for n in range(300) if speaker_split(f"p{n}") != missing]
        clips = takes(WORDS, names[:9] if missing == "train" else names)
        splits = split_clips(clips, "speaker", seed=1)
        moved = {clip.speaker for clip in clips if splits.split_of[clip.name] != speaker_split(clip.speaker)}
        assert is_everywhere(splits, clips)
        assert len(moved) == (5 if missing == "train" else 1)  # training gets half


def test_people_who_say_different_words_change_places():
    """Only together: whoever leaves a split alone takes a word out of it."""
    train, test = person_in("train"), person_in("test")
    validation, both = person_in("validation"), person_in("train", "q")
    clips = [*takes(["lamp"], [train, test, validation]), *takes(["off"], [both, test, validation])]
    assert is_everywhere(split_clips(clips, "speaker", 1), clips)


def test_two_people_are_training_and_test_and_validation_is_taken_from_training():
    clips = takes(WORDS, ["ada", "bob"], 5)
    splits = split_clips(clips, "speaker", seed=1)
    people = people_in(splits, clips)
    assert len(people["train"]) == len(people["test"]) == 1
    assert people["validation"] == people["train"] != people["test"]
    assert Counter(splits.split_of.values()) == {"train": 12, "validation": 3, "test": 15}
    [remark] = splits.remarks
    assert remark == (
        "3 validation clips of dimmer, lamp, off are of people who are in another split, too (too few people say these "
        "words): the accuracy in validation is too high for new people"
    )


def test_one_person_is_in_all_splits_and_a_remark_says_what_follows():
    clips = takes(WORDS, ["ada"], 10)
    splits = split_clips(clips, "speaker", seed=1)
    assert Counter((clip.word, splits.split_of[clip.name]) for clip in clips) == {
        (word, split): number for word in WORDS for split, number in zip(SPLITS, (8, 1, 1), strict=True)
    }
    [remark] = splits.remarks
    assert remark == (
        "3 validation clips and 3 test clips of dimmer, lamp, off are of people who are in another split, too (too few "
        "people say these words): the accuracy in validation and test is too high for new people"
    )


def test_only_the_word_of_one_person_is_split():
    people = [f"p{n}" for n in range(40)]
    clips = [*takes(["lamp", "off"], people), *takes(["dimmer"], people[:1], 3)]
    splits = split_clips(clips, "speaker", seed=1)
    others = [clip for clip in clips if clip.word != "dimmer"]
    assert is_everywhere(splits, clips)
    assert all(splits.split_of[clip.name] == speaker_split(clip.speaker) for clip in others)
    [remark] = splits.remarks
    assert re.match("1 validation clip and 1 test clip of dimmer are of people", remark)


# What is said, by whom, how often: sets of any kind

PEOPLE = [f"p{n}" for n in range(8)]
CLIPS = st.lists(
    st.builds(
        take,
        st.sampled_from(WORDS),
        st.sampled_from(PEOPLE),
        st.integers(0, 3),
        st.just(""),
        st.sampled_from(["", "", "", "d1", "d2"]),
    ),
    unique_by=lambda clip: clip.name,
)
GIVEN = st.lists(st.sampled_from(["", *SPLITS]), min_size=96, max_size=96)
HOW = st.sampled_from(["speaker", "random"])


@given(CLIPS, HOW, GIVEN, st.booleans())
def test_each_clip_has_one_split_or_a_reason(clips, how, given_splits, are_given):
    if are_given:
        clips = [Clip(*astuple(c)) for c in clips]
        clips = [
            Clip(clip.name, clip.word, clip.speaker, split, clip.content)
            for clip, split in zip(clips, given_splits, strict=False)
        ]
    splits = split_clips(clips, how, 1)
    names = [clip.name for clip in clips]
    assert sorted([*splits.split_of, *splits.left_out]) == sorted(names)
    assert set(splits.split_of.values()) <= set(SPLITS)
    split_of_recording: defaultdict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.name in splits.split_of:
            split_of_recording[clip.content or clip.name].add(splits.split_of[clip.name])
            assert clip.split in ("", "train", splits.split_of[clip.name])
    assert {len(found) for found in split_of_recording.values()} <= {1}
    if how == "speaker":
        said = any("in another split, too" in remark for remark in splits.remarks)
        assert are_apart(splits, clips) != said


@given(CLIPS, HOW, st.sampled_from([SPLITS, SPLITS[:2]]))
def test_a_word_is_in_every_split_where_it_has_enough_recordings(clips, how, needed):
    splits = split_clips(clips, how, 1, needed)
    there = words_in(splits, clips)
    words_of_recording: defaultdict[str, set[str]] = defaultdict(set)
    for clip in clips:
        words_of_recording[clip.content or clip.name].add(clip.word)
    for word in {clip.word for clip in clips}:
        own = {name for name, words in words_of_recording.items() if words == {word}}
        if len(own) >= len(needed):
            assert all((word, split) in there for split in needed), word


@given(CLIPS)
def test_nobody_is_in_two_splits_where_three_people_say_every_word(clips):
    clips = [*(Clip(c.name, c.word, c.speaker) for c in clips), *takes(WORDS, ["ada", "bob", "cy"])]
    splits = split_clips(clips, "speaker", 1)
    assert are_apart(splits, clips)
    assert is_everywhere(splits, clips)
    assert splits.remarks == ()


def test_adding_a_person_moves_few():
    rng = random.Random(1)
    for number, most in ((3, 1.5), (5, 1.2), (10, 0.7), (20, 0.3), (50, 0.1)):
        changed = 0
        for trial in range(50):
            people = [f"{trial}-{rng.random():.6f}" for _ in range(number + 1)]
            clips = takes(WORDS, people, 2)
            before = split_clips([clip for clip in clips if clip.speaker != people[-1]], "speaker", 1).split_of
            after = split_clips(clips, "speaker", 1).split_of
            changed += len({clip.speaker for clip in clips if before.get(clip.name, "") not in ("", after[clip.name])})
        assert changed / 50 <= most, number


# Copies


def test_people_who_share_a_recording_are_in_one_split():
    people = [f"p{n}" for n in range(60)]
    pairs = [("p0", "p1"), ("p1", "p2"), ("p30", "p31")]
    shared = [take("lamp", person, 7, content=f"d{n}") for n, pair in enumerate(pairs) for person in pair]
    shared = [Clip(f"lamp/{c.speaker}/{c.content}.wav", *astuple(c)[1:]) for c in shared]
    clips = [*takes(WORDS, people), *shared]
    splits = split_clips(clips, "speaker", 1)
    for first, second in pairs:
        assert len({splits.split_of[clip.name] for clip in clips if clip.speaker in (first, second)}) == 1
    assert splits.left_out == {}
    [remark] = splits.remarks
    assert remark == (
        "3 clips are copies of another (lamp/p1/d0.wav of lamp/p0/d0.wav, lamp/p2/d1.wav of lamp/p1/d1.wav, "
        "lamp/p31/d2.wav of lamp/p30/d2.wav): each in the split of the other"
    )


def test_where_a_recording_of_all_would_make_them_one_person_its_copies_are_left_out():
    people = [f"p{n}" for n in range(6)]
    clips = [*takes(WORDS, people), *(take("lamp", person, 9, content="the example") for person in people)]
    splits = split_clips(clips, "speaker", 1)
    assert is_everywhere(splits, clips)
    assert are_apart(splits, clips)
    assert 0 < len(splits.left_out) < 6
    assert all(name.endswith("/9.wav") for name in splits.left_out)


def test_one_recording_under_two_words_is_told():
    clips = [*takes(WORDS, PEOPLE), take("lamp", "p0", 5, content="d"), take("off", "p0", 5, content="d")]
    assert split_clips(clips, "speaker", 1).remarks[1] == "1 recording under two words: lamp/p0/5.wav and off/p0/5.wav"


# Given splits


def test_given_splits_are_kept():
    clips = [take(word, f"{split}{n}", split=split) for word in WORDS for split in SPLITS for n in range(4)]
    for how in ("speaker", "random"):
        splits = split_clips(clips, how, 1)
        assert splits.split_of == {clip.name: clip.split for clip in sorted(clips, key=lambda clip: clip.name)}
        assert splits.remarks == ()


def test_a_validation_split_that_is_not_given_is_taken_from_training():
    clips = [take(word, f"train{n}", split="train") for word in WORDS for n in range(50)]
    clips += [take(word, f"test{n}", split="test") for word in WORDS for n in range(5)]
    for how in ("speaker", "random"):
        splits = split_clips(clips, how, 1)
        counts = Counter((clip.split, splits.split_of[clip.name]) for clip in clips)
        assert set(counts) == {("train", "train"), ("train", "validation"), ("test", "test")}
        assert counts["test", "test"] == 15
        assert 3 <= counts["train", "validation"] <= 30
        assert splits.remarks == ("no clip is given for validation: taken from training's clips",)
        assert how == "random" or are_apart(splits, clips)


def test_people_in_two_given_splits_are_told():
    clips = [take(word, "ada", n, split) for word in WORDS for n, split in enumerate(SPLITS)]
    [remark] = split_clips(clips, "speaker", 1).remarks
    assert remark.startswith(
        "3 validation clips and 3 test clips of dimmer, lamp, off are of people who are in another"
    )
    assert "(as given): the accuracy in validation and test" in remark


def test_a_word_that_is_given_for_training_alone_is_split_and_one_for_the_test_alone_stays():
    clips = [take("lamp", f"{split}{n}", split=split) for split in SPLITS for n in range(4)]
    clips += [take("off", f"train{n}", split="train") for n in range(4)]
    clips += [take("dimmer", f"test{n}", split="test") for n in range(4)]
    splits = split_clips(clips, "speaker", 1)
    counts = Counter((clip.word, splits.split_of[clip.name]) for clip in clips)
    assert {split: counts["off", split] for split in SPLITS} == {"train": 2, "validation": 1, "test": 1}
    assert {split: counts["dimmer", split] for split in SPLITS} == {"train": 0, "validation": 0, "test": 4}
    assert {split: counts["lamp", split] for split in SPLITS} == {"train": 4, "validation": 4, "test": 4}


def test_who_has_a_given_split_stays_in_it_with_all_clips():
    clips = [*takes(WORDS, [f"p{n}" for n in range(10)]), take("lamp", "p3", 8, "test"), take("lamp", "p4", 8, "train")]
    splits = split_clips(clips, "speaker", 1)
    assert {splits.split_of[clip.name] for clip in clips if clip.speaker == "p3"} == {"test"}
    assert {splits.split_of[clip.name] for clip in clips if clip.speaker == "p4"} == {"train"}


# At random


def test_the_random_split_is_80_10_10_of_each_word_and_follows_from_the_seed():
    clips = [Clip(f"{word}/{n}.wav", word, str(n)) for word, count in (("no", 1000), ("yes", 30)) for n in range(count)]
    splits = split_clips(clips, "random", seed=1)
    counts = Counter((clip.word, splits.split_of[clip.name]) for clip in clips)
    assert counts == {
        **{("no", split): number for split, number in zip(SPLITS, (800, 100, 100), strict=True)},
        **{("yes", split): number for split, number in zip(SPLITS, (24, 3, 3), strict=True)},
    }
    assert split_clips(clips, "random", seed=2).split_of != splits.split_of
    only_no = split_clips([clip for clip in clips if clip.word == "no"], "random", seed=1).split_of
    assert only_no.items() <= splits.split_of.items()  # another word changes nothing


def test_at_random_copies_are_drawn_together():
    clips = [take("lamp", str(n), content=f"d{n // 4}") for n in range(40)]
    splits = split_clips(clips, "random", seed=1)
    assert splits.left_out == {}
    assert len({(clip.content, splits.split_of[clip.name]) for clip in clips}) == 10
    assert Counter(splits.split_of.values()) == {"train": 32, "validation": 4, "test": 4}


# What is impossible


def test_a_word_with_fewer_clips_than_splits_is_an_error_that_tells_how_many_there_are():
    everywhere = [(word, split) for word in ("no", "yes") for split in SPLITS]
    check_splits(everywhere, ["no", "yes"])
    message = r"^no usable clip of no in validation and test \(1 recording in all\): record more, .* make folds"
    with pytest.raises(UserError, match=message):
        check_splits([*everywhere[3:], ("no", "train")], ["no", "yes"])
    many = [(f"w{n}", "train") for n in range(8)]
    with pytest.raises(UserError, match=r"of w0 in validation and test \(1 recording in all\), w1 .* and 3 more:"):
        check_splits(many, [word for word, _ in many])


# Folds


def test_in_the_folds_everybody_is_tested_once_and_trained_on_otherwise():
    clips = takes(WORDS, [f"p{n}" for n in range(11)], 2)
    tested: Counter[str] = Counter()
    validated: Counter[str] = Counter()
    for fold in range(1, 6):
        splits = fold_clips(clips, fold, 5)
        people = people_in(splits, clips)
        assert are_apart(splits, clips)
        assert len(people["test"]) in (2, 3)
        assert is_everywhere(splits, clips)
        assert splits.remarks == ()
        tested.update(people["test"])
        validated.update(people["validation"])
    assert set(tested.values()) == set(validated.values()) == {1}
    assert len(tested) == len(validated) == 11


def test_two_folds_take_validation_from_training():
    clips = takes(WORDS, ["ada", "bob"], 10)
    for fold in (1, 2):
        splits = fold_clips(clips, fold, 2)
        people = people_in(splits, clips)
        assert people["train"] == people["validation"] != people["test"]
        assert Counter(splits.split_of.values()) == {"train": 27, "validation": 3, "test": 30}
        assert splits.remarks[0].startswith("3 validation clips of dimmer, lamp, off are of people")


def test_more_folds_than_people_are_an_error_and_people_who_share_a_recording_are_one():
    clips = takes(WORDS, ["ada", "bob", "cy"])
    assert fold_clips(clips, 3, 3).left_out == {}
    with pytest.raises(UserError, match=r"^fold: 4 folds need as many speakers, and the data set has 3$"):
        fold_clips(clips, 1, 4)
    clips += [take("lamp", "ada", 1, content="d"), take("lamp", "bob", 1, content="d")]
    with pytest.raises(UserError, match=r"^fold: 3 folds need as many speakers, and the data set has 2$"):
        fold_clips(clips, 1, 3)


def test_the_groups_have_as_many_clips_of_each_word():
    rng = random.Random(1)
    clips = [
        take(word, f"p{n}", t)
        for n in range(30)
        for word in rng.sample(WORDS, rng.randint(1, 3))
        for t in range(n % 4 + 1)
    ]
    people = people_of(sorted(clips, key=lambda clip: clip.name), {"": SPLITS}).people
    groups = deal(people, 5)
    assert set(groups) == {1, 2, 3, 4, 5}
    for word in WORDS:
        loads = Counter(dict.fromkeys(groups, 0))
        for one, group in zip(people, groups, strict=True):
            loads[group] += one.words[word]
        assert max(loads.values()) - min(loads.values()) <= 4, word  # as many as one person says


def test_a_word_that_training_would_lack_is_taken_from_validation():
    clips = [*takes(["lamp"], ["ada", "bob", "cy"], 5), *takes(["off"], ["ada", "bob"], 5)]
    for fold in (1, 2, 3):
        splits = fold_clips(clips, fold, 3)
        assert ("off", "train") in words_in(splits, clips)
        people = people_in(splits, clips)
        assert not people["test"] & (people["train"] | people["validation"])


def test_clips_that_leave_their_given_split_are_named():
    clips = [
        Clip(f"{split}/{word}/{split}{take}.wav", word, f"{split}{take}", split)
        for split in SPLITS
        for word in ("yes", "no")
        for take in range(3)
        if (split, word) != ("test", "no")
    ]
    splits = split_clips(clips, "speaker", seed=1)
    [name] = [name for name, split in splits.split_of.items() if split == "test" and "/no/" in name]
    assert name.startswith("train/")
    assert f"1 clip of no ({name}) moved to test, for which none is given" in splits.remarks


def test_given_splits_do_not_count_in_a_fold_and_that_is_said():
    clips = [Clip(f"{split}/yes/{who}.wav", "yes", who, split) for split, who in zip(SPLITS, "abc", strict=True)]
    assert "the given splits do not count in a cross-validation" in fold_clips(clips, 1, 3).remarks


# What kws listen --keep has heard


def heard(word: str, number: int, content: str = "") -> Clip:
    return Clip(f"{word}/heard-2026-05-31/{number}.flac", word, HOUSEHOLD, "", content)


@pytest.mark.parametrize("how", ["speaker", "random"])
def test_what_was_heard_is_in_training_and_moves_nobody(how):
    recorded = takes(WORDS, [f"p{number}" for number in range(12)])
    more = [heard(word, number) for word in WORDS for number in range(30)]
    before, after = split_clips(recorded, how, 1), split_clips(recorded + more, how, 1)
    assert {after.split_of[clip.name] for clip in more} == {"train"}
    assert {name: after.split_of[name] for name in before.split_of} == before.split_of
    assert after.remarks == before.remarks


@pytest.mark.parametrize("how", ["speaker", "random", "published"])
def test_a_word_that_was_heard_alone_is_in_no_other_split(how):
    clips = takes(WORDS[:2], [f"p{number}" for number in range(12)]) + [heard(WORDS[2], number) for number in range(9)]
    splits = split_clips(clips, how, 1)
    assert {splits.split_of[clip.name] for clip in clips if clip.heard} == {"train"}
    with pytest.raises(UserError, match="off in validation and test"):
        check_splits([(clip.word, splits.split_of[clip.name]) for clip in clips], WORDS)


def test_what_was_heard_never_fills_a_split_that_the_data_set_does_not_give():
    clips = [take(word, f"p{number}", split="train") for word in WORDS for number in range(9)]
    splits = split_clips([*clips, *(heard(word, number) for word in WORDS for number in range(9))], "speaker", 1)
    assert {splits.split_of[clip.name] for clip in clips} == set(SPLITS)
    assert {split for name, split in splits.split_of.items() if "heard-" in name} == {"train"}
    assert any("no clip is given for validation and test" in line for line in splits.remarks)


def test_a_copy_of_what_was_heard_that_is_in_the_test_leaves_training():
    recorded = takes(WORDS, [f"p{number}" for number in range(12)])
    tested = next(name for name, split in split_clips(recorded, "speaker", 1).split_of.items() if split == "test")
    clips = [replace(clip, content="same") if clip.name == tested else clip for clip in recorded]
    one = heard(tested.split("/")[0], 1, content="same")
    assert split_clips([*clips, one], "speaker", 1).left_out == {one.name: f"copy: of {tested}, which is in test"}


def test_in_each_fold_what_was_heard_is_in_training():
    recorded = takes(WORDS, [f"p{number}" for number in range(6)])
    more = [heard(word, number) for word in WORDS for number in range(9)]
    for fold in (1, 2, 3):
        before, after = fold_clips(recorded, fold, 3), fold_clips(recorded + more, fold, 3)
        assert after.split_of == before.split_of | {clip.name: "train" for clip in more}
