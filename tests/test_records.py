import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_front_end, make_spec
from hypothesis import given
from hypothesis import strategies as st

from kws.core.errors import UserError
from kws.records import write
from kws.records.clips import cached_clips
from kws.records.format import parse, read_records, serialize
from kws.records.read import read_split
from kws.records.write import RecordWriter, read_background_power, write_background_power


def of_tensorflow(features: dict[str, bytes | int]) -> bytes:
    """The same Example, by TensorFlow."""
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, bytes)
        else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        for name, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


@given(st.dictionaries(st.text(max_size=3), st.binary(max_size=300) | st.integers(0, 2**63 - 1)))
def test_an_example_is_what_tensorflow_makes_of_the_same_features(features):
    read = tf.train.Example.FromString(serialize(features))
    assert read.SerializeToString(deterministic=True) == of_tensorflow(features)


@given(st.dictionaries(st.text(max_size=3), st.binary(max_size=300) | st.integers(0, 2**63 - 1)))
def test_what_is_read_of_an_example_is_what_it_was_made_of(features):
    assert parse(serialize(features)) == features
    assert parse(of_tensorflow(features)) == features


FRONT_END = make_front_end(4000, 2000, 100, 100, 128, 16, 20.0, 2000.0, 1e-7)  # 20 frames, margins of 8
SPEC = make_spec(FRONT_END, test=30)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Thirty clips in three shards."""
    monkeypatch.setattr(write, "CLIPS_A_SHARD", 10)
    power = np.random.default_rng(0).exponential(size=(30, 36, 16)).astype(np.float32)
    with RecordWriter(tmp_path, SPEC.clips) as records:
        for index, clip in enumerate(power):
            records.write("test", f"{index}.wav", f"voice{index}", index, clip)
    return tmp_path


def test_clips_are_read_in_the_order_and_with_the_features_that_tensorflow_gives(folder):
    clips = list(cached_clips(folder, "test", SPEC))
    [batch] = read_split(folder, "test", SPEC, 30).as_numpy_iterator()
    assert len(list(folder.iterdir())) == 3
    assert [clip.name.encode() for clip in clips] == batch["name"].tolist()
    assert [clip.speaker.encode() for clip in clips] == batch["speaker"].tolist()
    assert [clip.label for clip in clips] == batch["label"].tolist()
    np.testing.assert_allclose(np.stack([clip.log_mel for clip in clips]), batch["log_mel"][..., 0], atol=1e-5)


@pytest.mark.parametrize("place", [0, 9, 100, -1])
def test_a_damaged_file_is_refused(folder, place):
    shard = min(folder.iterdir())
    content = bytearray(shard.read_bytes())
    content[place] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: run dvc repro"):
        list(read_records(shard))


@pytest.mark.parametrize("lost", [1, 4, 1000])
def test_a_file_that_is_cut_off_is_refused(folder, lost):
    shard = min(folder.iterdir())
    shard.write_bytes(shard.read_bytes()[:-lost])
    with pytest.raises(UserError, match="is damaged: run dvc repro"):
        list(read_records(shard))


def test_a_file_that_is_missing_is_noticed(folder):
    max(folder.iterdir()).unlink()
    with pytest.raises(UserError, match="test clips instead of 30: run dvc repro"):
        list(cached_clips(folder, "test", SPEC))


@pytest.mark.parametrize("frames", [1, 83, 1000])
def test_a_file_has_the_bytes_that_tensorflow_writes(tmp_path, frames):
    power = np.random.default_rng(0).uniform(size=(frames, 80)).astype(np.float32)
    with RecordWriter(tmp_path, {"test": 2}) as writer:
        writer.write("test", "nein/ä.wav", "ada", 300, power)
        writer.write("test", "no/b.wav", "bob", 0, 2 * power)
    with tf.io.TFRecordWriter(str(tmp_path / "wanted")) as writer:
        features = {"mel_power": power.tobytes(), "label": 300, "name": "nein/ä.wav".encode(), "speaker": b"ada"}
        writer.write(of_tensorflow(features))
        features = {"mel_power": (2 * power).tobytes(), "label": 0, "name": b"no/b.wav", "speaker": b"bob"}
        writer.write(of_tensorflow(features))
    assert (tmp_path / "test-00000-of-00001.tfrecord").read_bytes() == (tmp_path / "wanted").read_bytes()


MANY_SHARDS = """
import resource
import sys
from pathlib import Path

import numpy as np

from kws.records import write

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
write.CLIPS_A_SHARD, write.WAITING_BYTES, clips = 4, 100_000, 6000  # 1,500 shards, as of 1.5 million clips
with write.RecordWriter(Path(sys.argv[1]), {"train": clips, "test": 3}) as records:
    for number in range(clips):
        records.write("train", f"{number}.wav", "ada", 0, np.full((2, 3), number, np.float32))
    records.write("test", "a.wav", "bob", 1, np.zeros((2, 3), np.float32))
"""


def test_as_many_shards_as_of_a_million_clips_are_written_within_256_open_files(tmp_path):
    process = [sys.executable, "-c", MANY_SHARDS, str(tmp_path)]
    written = subprocess.run(process, capture_output=True, text=True, check=False)
    assert (written.returncode, written.stderr) == (0, "")
    shards = sorted(tmp_path.glob("train-*"))
    assert len(shards) == 1500
    numbers = []
    for place, shard in enumerate(shards):
        names = [parse(example)["name"] for example in read_records(shard)]
        assert all(zlib.crc32(name) % 1500 == place for name in names)
        here = [int(name.removesuffix(b".wav")) for name in names]
        assert here == sorted(here)  # in the order of writing
        numbers += here
    assert sorted(numbers) == list(range(6000))
    assert len(list(read_records(tmp_path / "test-00000-of-00001.tfrecord"))) == 1


def test_shards_do_not_depend_on_how_many_clips_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "CLIPS_A_SHARD", 10)
    written = []
    for waiting in (0, 20_000, 2**26):
        monkeypatch.setattr(write, "WAITING_BYTES", waiting)
        folder = tmp_path / f"{waiting}"
        folder.mkdir()
        with RecordWriter(folder, {"test": 45, "validation": 1}) as records:
            for number in range(45):
                records.write("test", f"{number}", "ada", 0, np.full((36, 16), number, np.float32))
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1] == written[2]
    assert len(written[0]) == 5 + 1  # a split without usable clips has its file all the same


def test_each_split_hears_its_own_background(tmp_path):
    power = [np.full((3, 2), number, np.float32) for number in range(4)]
    written = [("train", "b/2.wav", power[0]), ("train", "a", power[1]), ("test", "a", power[2])]
    write_background_power(tmp_path, written)
    for split, name, wanted in written:
        got = read_background_power(tmp_path, split)[name]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, wanted)
    assert list(read_background_power(tmp_path, "train")) == ["b/2.wav", "a"]
    assert dict(read_background_power(tmp_path, "validation")) == {}


def test_the_same_background_gives_the_same_bytes_whenever_it_is_written(tmp_path, monkeypatch):
    written = []
    for time in (1e9, 2e9):
        monkeypatch.setattr("time.time", lambda time=time: time)
        write_background_power(tmp_path, [("train", "hiss", np.ones((3, 2), np.float32))])
        written.append((tmp_path / "background.npz").read_bytes())
    assert written[0] == written[1]
