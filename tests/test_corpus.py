import pytest

from kws.core.errors import UserError
from kws.recordings.clips import (
    Clip,
    check_unusable,
    choose_words,
    list_clips,
    read_clips,
    speaker_naming,
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


def test_more_unusable_clips_than_allowed_are_an_error_that_names_the_reasons():
    check_unusable(["empty file"] * 5, 100, 0.05)
    with pytest.raises(UserError, match=r"6 of 100 clips are unusable \(5 x empty file, 1 x silent\).*: 0.05"):
        check_unusable(["empty file"] * 5 + ["silent"], 100, 0.05)


def test_what_macos_writes_as_two_characters_is_one_letter():
    assert clips_of("gru\u0308n/a.wav", "rot/a.wav")[0].word == "gr\u00fcn"
