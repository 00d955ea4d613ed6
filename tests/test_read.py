import numpy as np
import pytest
import tensorflow as tf
from conftest import make_front_end, make_spec

from kws.core.errors import UserError
from kws.records import read, write
from kws.records.clips import shards_of
from kws.records.read import read_split, training_batches
from kws.records.write import RecordWriter

FRONT_END = make_front_end(1000, 300, 100, 100, 128, 2, 20.0, 500.0, 0.25)  # 3 frames, margins of 2
SPEC = make_spec(FRONT_END, train=50, validation=5, test=7)


def mel_power(index: int) -> np.ndarray:
    """Of three frames between two margins of two: zeros in the first."""
    power = np.full((7, 2), index, np.float32) + np.arange(14, dtype=np.float32).reshape(7, 2) / 10
    power[:2] = 0
    return power


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "CLIPS_A_SHARD", 20)
    with RecordWriter(tmp_path, SPEC.clips) as writer:
        for split, clips in SPEC.clips.items():
            for index in range(clips):
                writer.write(split, f"{split}/{index}.wav", f"voice{index % 3}", index, mel_power(index))
    return tmp_path


def test_what_was_written_is_read_without_margins_as_a_logarithm(folder):
    batches = list(read_split(folder, "test", SPEC, 4).as_numpy_iterator())
    assert [len(batch["label"]) for batch in batches] == [4, 3]
    assert batches[0]["log_mel"].shape == (4, 3, 2, 1)
    for batch in batches:
        for features, label, name, speaker in zip(
            *(batch[k] for k in ("log_mel", "label", "name", "speaker")), strict=True
        ):
            np.testing.assert_allclose(features[..., 0], np.log(mel_power(label)[2:5] + np.float32(0.25)), atol=1e-6)
            assert (name.decode(), speaker.decode()) == (f"test/{label}.wav", f"voice{label % 3}")


def test_a_record_is_a_plain_example_that_anyone_can_read(folder):
    example = tf.train.Example.FromString(
        next(iter(tf.data.TFRecordDataset([str(path) for path in shards_of(folder, "test")]))).numpy()
    )
    feature = example.features.feature
    index = feature["label"].int64_list.value[0]
    values = np.frombuffer(feature["mel_power"].bytes_list.value[0], "<f4").reshape(7, 2)
    np.testing.assert_array_equal(values, mel_power(index))


def test_splits_are_sharded_and_named_so(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "test-00000-of-00001.tfrecord",
        "train-00000-of-00003.tfrecord",
        "train-00001-of-00003.tfrecord",
        "train-00002-of-00003.tfrecord",
        "validation-00000-of-00001.tfrecord",
    ]


def order(folder, seed: int, epoch: int) -> list[int]:
    return [int(x) for batch in training_batches(folder, SPEC, 8, seed, epoch) for x in batch["label"]]


@pytest.mark.parametrize("buffer", [8192, 1], ids=["clips are shuffled", "shards are read in another order"])
def test_each_epoch_has_all_clips_in_an_order_of_its_own_that_follows_from_the_seed(folder, monkeypatch, buffer):
    monkeypatch.setattr(read, "SHUFFLE_BUFFER", buffer)
    assert sorted(order(folder, 1, 1)) == list(range(50))
    assert order(folder, 1, 1) == order(folder, 1, 1)
    assert order(folder, 1, 1) != order(folder, 1, 2)
    assert order(folder, 1, 1) != order(folder, 2, 1)


def test_training_has_the_mel_power_of_each_clip_with_its_margins(folder):
    for batch in training_batches(folder, SPEC, 8, seed=1, epoch=1):
        assert batch["mel_power"].shape[1:] == (7, 2)
        for power, label in zip(batch["mel_power"].numpy(), batch["label"].numpy(), strict=True):
            np.testing.assert_array_equal(power, mel_power(label))


def test_the_number_of_batches_is_known_before_they_are_read(folder):
    assert training_batches(folder, SPEC, 8, seed=1, epoch=1).cardinality() == 7
    assert read_split(folder, "validation", SPEC, 3).cardinality() == 2


def test_a_split_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no test clips: run dvc repro"):
        read_split(tmp_path, "test", SPEC, 4)
