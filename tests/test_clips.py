from pathlib import Path

import pytest
from conftest import contents_of

from kws.core.errors import UserError
from kws.recordings.clips import (
    Clip,
    check_unusable,
    copies_in,
    look_alikes,
    read_clips,
    require_words,
    words_of,
    write_clips,
)
from kws.recordings.layout import understand


def clips_of(*names: str) -> list[Clip]:
    return list(understand(contents_of(names), ["yes"]).clips)


def test_the_clips_are_read_from_the_list_that_the_download_stage_wrote(tmp_path):
    clips = [
        Clip("no/gr\u00fcn, 1.wav", "gr\u00fcn, nicht blau", 'Zo\u00eb "Z"', "train", "0a1b"),
        Clip("yes/ann_nohash_0.wav", "yes", "ann"),
    ]
    write_clips(tmp_path / "clips.csv", clips)
    assert (tmp_path / "clips.csv").read_text(encoding="utf-8").startswith("name,word,speaker,split,content,said\n")
    read = read_clips(tmp_path / "clips.csv")
    assert list(read) == list(read) == clips


def test_a_word_the_data_set_lacks_is_an_error_that_lists_those_it_has():
    clips = [Clip(f"{word}/a.wav", word, "a") for word in ("yes", "no", "_background_noise_")]
    require_words(words_of(clips), ["yes"])
    with pytest.raises(UserError, match=r"no clip of maybe, never; it has no, yes$"):
        require_words(words_of(clips), ["yes", "maybe", "never"])


@pytest.mark.parametrize(
    ("word", "folder", "hint"),
    [
        ("coffee", "Coffee", "coffee (did you mean Coffee?)"),
        ("coffee", "cofee", "coffee (did you mean cofee?)"),
        ("hey jarvis", "hey_jarvis", "hey jarvis (did you mean hey_jarvis?)"),
        ("hey_jarvis", "hey-jarvis", "hey_jarvis (did you mean hey-jarvis?)"),
        ("don't", "don\u2019t", "don't (did you mean don\u2019t?)"),
        ("yes", "\uff59\uff45\uff53", "yes (did you mean \uff59\uff45\uff53?)"),  # full width
        ("coffee", "coffee ", "coffee (rename the folder 'coffee ': it has spaces around the word)"),
        ("coffee", "blinds", "coffee;"),
    ],
)
def test_a_near_miss_is_told_with_what_was_meant(word, folder, hint):
    with pytest.raises(UserError) as error:
        require_words(words_of(clips_of(f"{folder}/a.wav", "zebra/b.wav")), [word])
    assert f"no clip of {hint}" in str(error.value)


@pytest.mark.parametrize("names", [["Yes/ann/a.wav", "Yes/bob/b.wav"], ["ann/Yes/a.wav", "bob/Yes/b.wav"]])
def test_a_near_miss_that_is_the_only_word_is_told_wherever_its_folder_stands(names):
    with pytest.raises(UserError, match=r"no clip of yes \(did you mean Yes\?\); it has Yes$"):
        require_words(words_of(clips_of(*names)), ["yes"])


def test_of_very_many_words_the_first_are_listed():
    with pytest.raises(UserError, match=r"it has w000, .*, w039 and 60 more$"):
        require_words([f"w{number:03d}" for number in range(100)], ["computer"])


def test_folders_that_are_written_almost_as_a_chosen_word_are_found():
    there = ["coffee", "Coffee", "hey_jarvis", "tea"]
    assert look_alikes(there, ["coffee", "hey jarvis"]) == {"Coffee": "coffee", "hey_jarvis": "hey jarvis"}


@pytest.mark.parametrize("form", ["yes/{}/a.wav", "yes/{}_nohash_0.wav", "yes/{}.wav"])
def test_a_name_is_one_speaker_in_both_unicode_forms(form):
    [composed], [decomposed] = clips_of(form.format("Zo\u00eb")), clips_of(form.format("Zoe\u0308"))
    assert composed.speaker == decomposed.speaker
    assert composed.name != decomposed.name  # as it stands in the archive


def test_more_unusable_clips_than_allowed_are_an_error_that_names_the_reasons_the_first_clips_and_where_the_rest_is():
    empty = {f"yes/{number:02d}.wav": "empty file" for number in range(11)}
    list_of_all = Path(".scratch/featurize/unusable.csv")
    check_unusable(empty.items(), 220, 0.05, list_of_all)
    with pytest.raises(UserError) as refused:
        check_unusable((empty | {"yes/quiet.wav": "silent"}).items(), 220, 0.05, list_of_all)
    first = ", ".join(f"yes/{number:02d}.wav" for number in range(10))
    assert str(refused.value) == (
        "12 of 220 clips are unusable (11 x empty file, 1 x silent), more than max_unusable_share allows: 0.05; "
        f"the first are {first}; .scratch/featurize/unusable.csv has them all"
    )


def test_what_macos_writes_as_two_characters_is_one_letter():
    assert clips_of("gru\u0308n/a.wav", "rot/a.wav")[0].word == "gr\u00fcn"


def test_copies_are_all_clips_of_a_recording_that_is_there_more_than_once():
    contents = {"a": "1", "b": "2", "c": "", "d": "1", "e": "", "f": "3", "g": "2", "h": "1"}
    clips = [Clip(f"yes/{name}.wav", "yes", name, content=content) for name, content in contents.items()]
    assert [clip.speaker for clip in copies_in(clips)] == [*"abdgh"]
    assert copies_in(clips[:3]) == copies_in([]) == []
