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


def test_each_split_hears_its_own_background_in_the_order_of_the_names(tmp_path):
    power = {name: np.full((3, 2), number, np.float32) for number, name in enumerate(("a", "b", "c"))}
    write_background_power(
        tmp_path,
        {"train": {"b": power["b"], "c": power["c"], "a": power["a"]}, "test": {"a": power["c"]}, "validation": {}},
    )
    assert [part[0, 0] for part in read_background_power(tmp_path, "train")] == [0, 1, 2]
    assert [part.tolist() for part in read_background_power(tmp_path, "test")] == [power["c"].tolist()]
    assert read_background_power(tmp_path, "test")[0].dtype == np.float32
    assert read_background_power(tmp_path, "validation") == []


def test_the_same_background_gives_the_same_bytes_whenever_it_is_written(tmp_path, monkeypatch):
    written = []
    for time in (1e9, 2e9):
        monkeypatch.setattr("time.time", lambda time=time: time)
        write_background_power(tmp_path, {"train": {"hiss": np.ones((3, 2), np.float32)}})
        written.append((tmp_path / "background.npz").read_bytes())
    assert written[0] == written[1]
