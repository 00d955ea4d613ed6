"""The benchmark of the cluster measures what it says."""

import importlib

import numpy as np
import pytest
from conftest import ROOT
from test_shards import pack, spoken

from kws.audio.decode import decode_recording


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("cluster")


def test_recordings_have_their_word_from_the_folder_or_from_the_archive(measuring, tmp_path):
    one = pack(tmp_path / "all.tar", {"set/yes/ann_nohash_0.wav": b"1", "set/_background_noise_/tap.wav": b"2"})
    assert measuring.sources(one) == [("yes", "ann", b"1")]
    pack(tmp_path / "words" / "yes.tar", {"ann_nohash_0.wav": b"1"})
    pack(tmp_path / "words" / "no.tar", {"bob_nohash_0.wav": b"2", "bob_nohash_1.wav": b""})
    assert measuring.sources(tmp_path / "words") == [("no", "bob", b"2"), ("yes", "ann", b"1")]


def test_each_number_gives_another_clip_and_the_same_one_each_time(measuring):
    recordings = [("yes", "ann", spoken(1)), ("no", "bob", spoken(2))]
    made = [measuring.made_clip(number, recordings) for number in range(4)]
    again = [measuring.made_clip(number, recordings) for number in range(4)]
    assert [name for name, _ in again] == [name for name, _ in made]
    assert [name.split("/")[0] for name, _ in made] == ["yes", "no", "yes", "no"]
    assert len({name.split("/")[1].split("_nohash_")[0] for name, _ in made}) == 4  # each turn has people of its own
    sounds = [decode_recording(data, 16_000).samples for _, data in made]
    for sound, (_, data) in zip(sounds, again, strict=True):  # the bytes differ: Ogg draws a number for each stream
        np.testing.assert_array_equal(decode_recording(data, 16_000).samples, sound)
    assert not np.array_equal(sounds[0], sounds[2])
    assert all(0.8 * 16_000 < len(sound) <= 16_000 for sound in sounds)


def test_parts_hold_all_clips_once(measuring, tmp_path):
    from kws.recordings.archive import places_in

    archive = pack(tmp_path / "all.tar", {"yes/ann_nohash_0.wav": spoken(1)})
    measuring.write_part(range(3), tmp_path / "1.tar", archive)
    measuring.write_part(range(3, 5), tmp_path / "2.tar", archive)
    names = [name for part in ("1.tar", "2.tar") for name, _, _ in places_in(tmp_path / part)]
    assert [int(name.rpartition("_")[2].removesuffix(".opus")) for name in names] == list(range(5))


def test_the_digest_is_of_all_that_featurize_writes_and_of_nothing_else(measuring, tmp_path):
    for name in ("data/features/spec.json", "metrics/featurize.json", "metrics/download.json", "plots/features/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    before = measuring.digest(tmp_path)
    (tmp_path / "metrics/download.json").write_text("other")
    assert measuring.digest(tmp_path) == before
    for name in ("data/features/spec.json", "metrics/featurize.json", "plots/features/a.png"):
        (tmp_path / name).write_text("other")
        assert measuring.digest(tmp_path) != before
        before = measuring.digest(tmp_path)
