import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, SOURCE, TEST_ARCHIVE

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import write_json
from kws.recordings.clips import SPLITS, UNHEARD, read_clips
from kws.recordings.source import DataSource

WITH_TEST = replace(SOURCE, test=TEST_ARCHIVE)
THEIRS = {"unheard_validation": "dataset", "unheard_test": "test_dataset"}
WITH_VOICES = replace(
    SOURCE,
    computed=replace(TEST_ARCHIVE, archive="computed.tar"),
    other_speech=replace(TEST_ARCHIVE, archive="other_speech.tar"),
    unheard=dict.fromkeys(UNHEARD.values(), "computed"),
)


def test_the_json_is_flat_but_for_the_archive_of_the_test_data_set():
    archive = ["dataset", "archive", "address", "bytes", "sha256", "checked", "licence"]
    content = WITH_TEST.to_json()
    own = [
        "synthetic",
        "speakers",
        "given_splits",
        "words",
        "clips",
        "test",
        "test_synthetic",
        "computed",
        "other_speech",
        "unheard",
    ]
    assert list(content) == [*archive, *own]
    assert list(content["test"]) == archive
    assert SOURCE.to_json() == content | {"test": None}
    assert list(WITH_VOICES.to_json()["other_speech"]) == list(WITH_VOICES.to_json()["computed"]) == archive


@pytest.mark.parametrize(
    "source", [SOURCE, WITH_TEST, WITH_VOICES], ids=["a share tests", "a data set tests", "voices say other words"]
)
def test_what_was_written_is_read_again(tmp_path, source):
    write_json(tmp_path / "source.json", source.to_json())
    assert DataSource.read(tmp_path / "source.json") == source


def test_a_source_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"source.json is not here: run dvc repro"):
        DataSource.read(tmp_path / "source.json")


@pytest.mark.parametrize(
    ("source", "archives"),
    [
        (SOURCE, ["a.tar.gz"] * 5),
        (WITH_TEST, ["a.tar.gz", "a.tar.gz", "test/mine.zip", "a.tar.gz", "a.tar.gz"]),
        (replace(WITH_TEST, unheard=THEIRS), ["a.tar.gz", "a.tar.gz", "test/mine.zip", "a.tar.gz", "test/mine.zip"]),
        (WITH_VOICES, ["a.tar.gz"] * 3 + ["other_speech.tar"] * 2),
        (
            replace(WITH_VOICES, test=TEST_ARCHIVE, unheard=THEIRS | {"unheard_validation": "computed"}),
            ["a.tar.gz", "a.tar.gz", "test/mine.zip", "other_speech.tar", "test/mine.zip"],
        ),
    ],
)
def test_the_archive_of_each_split(source, archives):
    splits = (*SPLITS, *UNHEARD.values())
    assert [source.archive_of(split) for split in splits] == [Path("data/raw", name) for name in archives]


@pytest.mark.parametrize("split", SPLITS)
def test_clips_of_computed_voices_beside_people_lie_in_an_archive_of_their_own(split):
    name = "_computed_/yes/computed-train-0000_nohash_0.wav"
    assert WITH_VOICES.archive_of(split, name) == Path("data/raw/computed.tar")
    assert WITH_VOICES.archive_of(split, "yes/ada/1.wav") == Path("data/raw/a.tar.gz")
    assert SOURCE.archive_of(split, name) == Path("data/raw/a.tar.gz")  # a folder of the user's, which is not used


def test_what_tests_is_the_test_data_set_if_there_is_one():
    assert (WITH_TEST.tested, SOURCE.tested) == (TEST_ARCHIVE, SOURCE)


def test_the_benchmark_of_speed_writes_a_source_that_stages_can_read(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import speed

    folder = speed.project(tmp_path, [("yes/a.wav", b"yes"), ("no/b.wav", b"no")], clips=3)
    monkeypatch.chdir(folder)
    source = DataSource.read(paths.SOURCE)
    assert [clip.name for clip in read_clips(paths.CLIPS)] == ["yes/a.wav", "no/b.wav", "yes/1xa.wav"]
    for clip in read_clips(paths.OTHER_SPEECH_CLIPS):  # without them featurize stops
        with tarfile.open(source.archive_of(UNHEARD[clip.split])) as other_speech:
            assert clip.name in other_speech.getnames()
    assert {clip.split for clip in read_clips(paths.OTHER_SPEECH_CLIPS)} == UNHEARD.keys()
