"""Words that sound near to others."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import contents_of

from kws.core.errors import UserError
from kws.core.naming import UNKNOWN
from kws.download.voices import beside, espeak
from kws.download.voices.near_words import NEAR_EACH, distances, near_words, without_same_sounds
from kws.download.voices.other_words import ENGLISH, EVERYDAY, UNHEARD, everyday_words
from kws.download.voices.synthetic import Others
from kws.recordings.clips import HOUSEHOLD, Clip
from kws.recordings.layout import understand


def test_espeak_names_the_sounds_of_a_word_one_by_one():
    church, phrase = espeak.phonemes([("church", "en-us"), ("lights off", "en-us")])
    assert church == ["tS", "3:", "tS"]
    assert phrase == ["l", "aI", "t", "s", "O2", "f"]
    assert espeak.phonemes([("stop", "ru")])[0][:2] == ["s", "t"]  # a switch of language is no sound


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("g oU", "g oU", 0),
        ("g oU", "n oU", 1 / 2),
        ("g oU", "k oU", 0.5 / 2),  # both are plosives
        ("b E d", "b I d", 0.5 / 3),  # both are vowels
        ("b E d", "b E d z", 1 / 4),
        ("s t A: p", "t A: p s", 2 / 4),
        ("b E d", "s", 3 / 3),
        ("b E d", "", 1),
    ],
)
def test_the_distance_counts_sounds_and_half_within_a_class(one, other, distance):
    others = [["x"] * 7, other.split(), []]
    assert distances(one.split(), others)[1] == pytest.approx(distance)
    assert distances(other.split(), [one.split()])[0] == pytest.approx(distance)


def test_distances_to_nothing_are_no_error():
    assert distances(["a"], []).shape == (0,)


def test_the_nearest_words_come_first_and_each_word_has_its_turn():
    candidates = ["elephant", "know", "got", "gold", "yet", "mess", "umbrella"]
    near = near_words(["go", "yes"], candidates, "en-us")
    assert near == ["know", "yet", "got", "mess", "gold", "elephant", "umbrella"]
    assert len(near_words(["go"], EVERYDAY[:40], "en-us")) == NEAR_EACH


def test_words_with_the_sounds_of_another_in_some_accent_are_left_out():
    candidates = ["two", "toe", "read", "bread"]
    assert without_same_sounds(candidates, ["to"], ["en-us"]) == ["toe", "read", "bread"]
    assert without_same_sounds(candidates, ["to"], ["en-gb-scotland"]) == candidates
    assert without_same_sounds(candidates, ["to"], ["en-gb-scotland", "en-us"]) == ["toe", "read", "bread"]


def test_everyday_words_are_many_and_none_of_them_is_unheard_or_chosen():
    assert len(set(EVERYDAY)) == len(EVERYDAY) > 1000
    assert not set(EVERYDAY) & ({*UNHEARD} | {*ENGLISH})
    assert list(EVERYDAY) == sorted(EVERYDAY)
    assert set(EVERYDAY) - set(everyday_words(["go home"])) == {"home"} | {"go"} & {*EVERYDAY}


def clips_of(*words: str) -> list[Clip]:
    return [Clip(f"{word}/ada_nohash_0.wav", word, "ada") for word in words]


def test_all_words_are_for_training_and_those_that_nobody_recorded_for_the_rest(make_params):
    params = make_params(words=("yes", "no", "go"), dataset="mine", computed_voices=20)
    recordings = clips_of("yes", "bird")
    assert beside.words_beside(recordings, (), params) == {
        "train": ["yes", "no", "go"],
        "validation": ["no", "go"],
        "test": ["no", "go"],
    }
    params = params.model_copy(update={"test_dataset": "theirs"})
    assert beside.words_beside(recordings, clips_of("yes", "no"), params)["test"] == ["go"]
    assert beside.words_beside(recordings, clips_of("yes", "no"), params)["validation"] == ["no", "go"]
    heard = [replace(clip, speaker=HOUSEHOLD) for clip in clips_of("no")]  # which is for training alone
    assert beside.words_beside([*recordings, *heard], (), params)["validation"] == ["no", "go"]


@pytest.fixture
def _few_words(monkeypatch):
    monkeypatch.setattr(
        beside, "everyday_words", lambda apart: [w for w in ("know", "low", "son", "tree") if w not in apart]
    )
    monkeypatch.setattr(beside, "other_words", lambda apart: [w for w in ("paper", "window") if w not in apart])


@pytest.mark.usefixtures("_few_words")
def test_other_words_are_none_of_those_that_a_test_set_calls_unknown(make_params):
    """The companion test set of Speech Commands names its files so: training is to hear none of these words."""
    tests = [f"_unknown_/{word}_0c540988_nohash_{end}" for word, end in (("tree", "0.wav.wav"), ("window", "1.wav"))]
    layout = understand(contents_of(tests), {"no", "go"})
    params = make_params(words=("no", "go"), dataset="mine", unknown=2.5, computed_voices=20)
    assert beside.others_beside(clips_of("no", "go"), layout.clips, params, ["en-us"]) == Others(
        ["low", "son"], ["paper"], 3
    )


@pytest.mark.usefixtures("_few_words")
def test_other_words_are_none_that_people_say_or_that_sound_like_one(make_params):
    accents = ["en-us", "en"]
    params = make_params(words=("no", "go"), dataset="mine", unknown=2.5, computed_voices=20)
    found = beside.others_beside(clips_of("no", "go"), (), params, accents)
    assert found == Others(["low", "son", "tree"], ["paper", "window"], 3)  # "know" is "no"
    found = beside.others_beside(clips_of("no", "go", "sun", "window"), clips_of("low"), params, accents)
    assert found == Others(["tree"], ["paper"], 3)  # "son" is "sun", which may be unheard


def test_without_unknown_or_in_another_language_there_are_no_other_words(make_params):
    params = make_params(words=("ja", "nein"), dataset="mine", computed_voices=20, language="de")
    none = Others((), (), 0)
    assert beside.others_beside(clips_of("ja", "nein"), (), params, ["de"]) == none
    params = params.model_copy(update={"unknown": 1.0})
    assert beside.others_beside(clips_of("ja", "nein", "halt"), (), params, ["de"]) == none
    assert beside.others_beside(clips_of("ja", UNKNOWN), (), params, ["de"]) == none
    with pytest.raises(
        UserError, match=r"^unknown: computed voices say other words in English only, not in de, and the"
    ):
        beside.others_beside(clips_of("ja", "nein", "_silence_"), (), params, ["de"])


def test_what_computed_voices_do_is_told(make_params):
    params = make_params(words=("yes", "no", "go"), dataset="mine", unknown=1.0, computed_voices=20)
    words_of = {"train": ["yes", "no", "go"], "validation": ["no", "go"], "test": ["go"]}
    clips = [Clip("", "no", f"v{n}", "validation") for n in (1, 2)] + [Clip("", "go", "v3", "test")]
    first, *of_splits, last = beside.lines(words_of, clips, Others(["low"], ["paper", "window"], 1), params)
    assert first == "20 computed voices say 3 words (yes, no, go) for training"
    figures = "so that figures of these words are not those of people"
    assert of_splits == [
        f"validation has no recordings of 2 words (no, go): 2 other computed voices say them, {figures}",
        f"test has no recordings of 'go': 1 other computed voices say them, {figures}",
    ]
    others = "the computed voices also say other words for _unknown_, 1 each"
    *_, last = beside.lines(words_of, clips, Others((), (), 0), params)
    assert last.endswith("in English only: a network may then take every computed voice for one of your words")
    *_, last = beside.lines(words_of, clips, Others(["low"], ["paper", "window"], 1), params)
    assert last == f"{others}: of 1 that sound near to yours (low), and of 2 others"


def test_a_voice_says_near_words_and_others_in_turn():
    others = Others([f"near{n}" for n in range(20)], [f"far{n}" for n in range(20)], 5)
    said = [others.said_by(f"voice{n}") for n in range(50)]
    assert all([word[:3] for word in words] == ["nea", "far", "nea", "far", "nea"] for words in said)
    assert {word for words in said for word in words} == {*others.near, *others.far}
    assert np.all([len(set(words)) == 5 for words in said])
    assert Others(others.near, others.far, 3).said_by("voice1") == said[1][:3]
    assert [word[:3] for word in Others(["near"], others.far, 3).said_by("a")] == ["nea", "far", "far"]
    assert Others((), (), 0).said_by("a") == []
