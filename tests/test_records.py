import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kws.records.write import RecordWriter, read_background_power, serialize, write_background_power


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
