import csv
import random

import pytest
from conftest import RECORDINGS, needs_recordings

from kws.core.errors import UserError
from kws.recordings.clips import (
    SPLITS,
    Clip,
    check_splits,
    check_unusable,
    choose_words,
    list_clips,
    look_alikes,
    read_clips,
    speaker_naming,
    speaker_split,
    split_clips,
)


def clips_of(*names: str) -> list[Clip]:
    return list_clips(names)


def test_speakers_stand_before_nohash():
    assert clips_of("yes/004ae714_nohash_1.wav", "no/x.wav") == [
        Clip("no/x.wav", "no", "no/x.wav"),
        Clip("yes/004ae714_nohash_1.wav", "yes", "004ae714"),
    ]


def test_speakers_are_the_folders_below_the_words():
    clips = clips_of("yes/ada/1.flac", "no/ada/1.mp3", "no/bob/1.ogg")
    assert [(c.word, c.speaker) for c in clips] == [("no", "ada"), ("no", "bob"), ("yes", "ada")]
    assert speaker_naming(clips) == "folders"


@pytest.mark.parametrize("around", ["", "./", "mini_speech_commands/", "a/b/"])
def test_a_folder_around_all_words_does_not_matter(around):
    clips = clips_of(f"{around}yes/a_nohash_0.wav", f"{around}no/a_nohash_0.wav")
    assert [(c.word, c.speaker) for c in clips] == [("no", "a"), ("yes", "a")]
    assert speaker_naming(clips) == "nohash names"


def test_what_is_no_recording_is_passed_over():
    names = [
        "LICENSE",
        "README.md",
        "yes/notes.txt",
        "yes/._a.wav",
        "__MACOSX/yes/a.wav",
        "top.wav",
        "yes/a.WAV",
        "no/b.wav",
    ]
    assert [clip.name for clip in clips_of(*names)] == ["no/b.wav", "yes/a.WAV"]


def test_a_file_each_is_said_to_be_one_speaker_a_file():
    assert speaker_naming(clips_of("yes/a.wav", "no/a.wav")) == "one a file"


def test_the_clips_are_read_from_the_list_that_the_download_stage_wrote(tmp_path):
    (tmp_path / "clips.txt").write_text("yes/ann_nohash_0.wav\nno/gr\u00fcn.wav\n", encoding="utf-8")
    assert read_clips(tmp_path / "clips.txt") == clips_of("no/gr\u00fcn.wav", "yes/ann_nohash_0.wav")


def test_a_name_that_ends_twice_in_wav_is_read():
    assert clips_of("yes/0a_nohash_0.wav.wav", "no/b.wav")[1].speaker == "0a"


def test_a_word_the_data_set_lacks_is_an_error_that_lists_those_it_has():
    clips = clips_of("yes/a.wav", "no/b.wav", "_background_noise_/c.wav")
    assert {clip.word for clip in choose_words(clips, ["yes"])} == {"yes"}
    with pytest.raises(UserError, match=r"no clip of maybe, never; it has no, yes$"):
        choose_words(clips, ["yes", "maybe", "never"])


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
        choose_words(clips_of(f"{folder}/a.wav", "zebra/b.wav"), [word])
    assert f"no clip of {hint}" in str(error.value)


def test_of_very_many_words_the_first_are_listed():
    with pytest.raises(UserError, match=r"it has w000, .*, w039 and 60 more$"):
        choose_words(clips_of(*(f"w{number:03d}/a.wav" for number in range(100))), ["computer"])


def test_folders_that_are_written_almost_as_a_chosen_word_are_found():
    there = ["coffee", "Coffee", "hey_jarvis", "tea"]
    assert look_alikes(there, ["coffee", "hey jarvis"]) == {"Coffee": "coffee", "hey_jarvis": "hey jarvis"}


@pytest.mark.parametrize("form", ["yes/{}/a.wav", "yes/{}_nohash_0.wav", "yes/{}.wav"])
def test_a_name_is_one_speaker_in_both_unicode_forms(form):
    [composed], [decomposed] = clips_of(form.format("Zo\u00eb")), clips_of(form.format("Zoe\u0308"))
    assert composed.speaker == decomposed.speaker
    assert composed.name != decomposed.name  # as it stands in the archive


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


def test_nobody_is_heard_in_two_splits():
    clips = [Clip(f"{word}/{n}_nohash_0.wav", word, str(n)) for word in ("yes", "no") for n in range(500)]
    split_of = split_clips(clips, "speaker", seed=1)
    splits_of_speaker = {clip.speaker: {split_of[c.name] for c in clips if c.speaker == clip.speaker} for clip in clips}
    assert {len(splits) for splits in splits_of_speaker.values()} == {1}
    assert set(split_of.values()) == set(SPLITS)


def test_the_random_split_is_80_10_10_and_does_not_depend_on_the_order_of_the_clips():
    clips = [Clip(f"yes/{n}.wav", "yes", str(n)) for n in range(1000)]
    split_of = split_clips(clips, "random", seed=1)
    counts = [list(split_of.values()).count(split) for split in SPLITS]
    assert counts == [800, 100, 100]
    shuffled = random.Random(0).sample(clips, k=1000)
    assert split_clips(shuffled, "random", seed=1) == split_of
    assert split_clips(clips, "random", seed=2) != split_of


def test_a_word_that_is_missing_in_a_split_is_an_error_that_says_what_to_do():
    everywhere = {(word, split) for word in ("no", "yes") for split in SPLITS}
    check_splits(everywhere, ["no", "yes"], "speaker")
    for split in SPLITS:
        message = rf"no usable clip of no in {split}: add clips of more speakers, or take split=random$"
        with pytest.raises(UserError, match=message):
            check_splits(everywhere - {("no", split)}, ["no", "yes"], "speaker")


def test_more_unusable_clips_than_allowed_are_an_error_that_names_the_reasons():
    check_unusable(["empty file"] * 5, 100, 0.05)
    with pytest.raises(UserError, match=r"6 of 100 clips are unusable \(5 x empty file, 1 x silent\).*: 0.05"):
        check_unusable(["empty file"] * 5 + ["silent"], 100, 0.05)


def test_what_macos_writes_as_two_characters_is_one_letter():
    assert clips_of("gru\u0308n/a.wav", "rot/a.wav")[0].word == "gr\u00fcn"


def test_with_a_random_split_the_way_out_is_more_clips():
    there = {("no", "test"), ("yes", "test")}
    with pytest.raises(UserError, match=r"no usable clip of no in train, .* go in test and 2 more: add clips$"):
        check_splits(there, ["no", "go", "yes"], "random")
