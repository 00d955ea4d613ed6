"""Speakers as each published set names them: real names of files, and rows of tables."""

import csv
from collections import Counter

import pytest
from conftest import RECORDINGS, contents_of, needs_recordings

from kws.core.naming import UNKNOWN
from kws.recordings.clips import Clip
from kws.recordings.layout import understand
from kws.recordings.people import speaker_split

WORDS = ("down", "yes")


def clips_of(*names: str, tables: dict[str, str] | None = None) -> dict[str, Clip]:
    return {clip.name: clip for clip in understand(contents_of(names, tables), WORDS).clips}


SPEECH_COMMANDS = {
    "./yes/0c40e715_nohash_0.wav": "0c40e715",
    "./yes/0c40e715_nohash_1.wav": "0c40e715",
    "./down/00b01445_nohash_1.wav": "00b01445",
    "./marvin/a69b9b3e_nohash_0.wav": "a69b9b3e",
    "./_background_noise_/white_noise.wav": "_background_noise_/white_noise.wav",
}
MINI = {
    "mini_speech_commands/down/004ae714_nohash_0.wav": "004ae714",
    "mini_speech_commands/yes/004ae714_nohash_0.wav": "004ae714",
}
TEST_SET = {
    "./yes/4c841771_nohash_3.wav": "4c841771",
    "./on/0c540988_nohash_0.wav": "0c540988",
    "./_silence_/1024.wav": "_silence_/1024.wav",
    "./_unknown_/backward_0c540988_nohash_0.wav.wav": "0c540988",
    "./_unknown_/zero_db24628d_nohash_3.wav.wav": "db24628d",
    "./_unknown_/bed_0ea0e2f4_nohash_1.wav.wav": "0ea0e2f4",
}


@pytest.mark.parametrize("speakers", [SPEECH_COMMANDS, MINI, TEST_SET], ids=["Speech Commands", "mini", "test set"])
def test_speakers_of_the_published_sets(speakers):
    found = clips_of(*speakers)
    assert {name: clip.speaker for name, clip in found.items()} == speakers


def test_the_words_of_the_other_words_in_the_test_set_are_told():
    found = clips_of(*TEST_SET)
    said = {name: (clip.word, clip.spoken) for name, clip in found.items() if "_unknown_" in name}
    assert said == {
        "./_unknown_/backward_0c540988_nohash_0.wav.wav": (UNKNOWN, "backward"),
        "./_unknown_/zero_db24628d_nohash_3.wav.wav": (UNKNOWN, "zero"),
        "./_unknown_/bed_0ea0e2f4_nohash_1.wav.wav": (UNKNOWN, "bed"),
    }
    assert found["./yes/4c841771_nohash_3.wav"].spoken == "yes"


def test_a_name_with_an_underscore_is_a_whole_speaker_in_recordings_of_ones_own():
    found = clips_of("yes/ann_lee_nohash_0.wav", "down/bob_nohash_0.wav", "_unknown_/ann_lee_nohash_0.wav")
    assert [clip.speaker for clip in found.values()] == ["ann_lee", "bob", "ann_lee"]
    assert found["_unknown_/ann_lee_nohash_0.wav"].spoken == UNKNOWN


def test_speakers_of_mswc_are_those_of_its_tables():
    who = "2f1ea1d4ad3a8f2e3c2b3fd7f1e3d41c2bb1d4a9c4c9e0d8a1f6d7b6c5a4f3e2"
    table = f"SET,LINK,WORD,VALID,SPEAKER,GENDER\nTRAIN,yes/common_voice_en_18279612.opus,yes,True,{who},MALE\n"
    name = "en/clips/yes/common_voice_en_18279612.opus"
    assert clips_of(name, tables={"en/en_splits.csv": table})[name].speaker == who


@needs_recordings
def test_all_other_words_of_the_official_test_set_are_said_by_official_test_speakers():
    with (RECORDINGS / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] == "test"]
    found = clips_of(*(f"{row['label']}/{row['file']}" for row in rows))
    unknown = [clip for clip in found.values() if clip.word == UNKNOWN]
    assert len(unknown) == 408
    assert len({clip.speaker for clip in unknown}) == 170
    assert len(Counter(clip.spoken for clip in unknown)) == 25
    spoken = [clip for clip in found.values() if clip.word != "_silence_"]
    assert {speaker_split(clip.speaker) for clip in spoken} == {"test"}
