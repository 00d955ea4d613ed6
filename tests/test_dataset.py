import errno

import numpy as np
import pytest
import tensorflow as tf

from kws import dataset
from kws.dataset import RecordWriter, features_and_labels, read_split, training_batches
from kws.errors import UserError

SPEC = {"frames": 3, "mel_bins": 2, "clips": {"train": 50, "validation": 5, "test": 7}}


def log_mel(index: int) -> np.ndarray:
    return np.full((3, 2), index, np.float32) + np.arange(6, dtype=np.float32).reshape(3, 2) / 10


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "CLIPS_A_SHARD", 20)
    with RecordWriter(tmp_path, SPEC["clips"]) as records:
        for split, clips in SPEC["clips"].items():
            for index in range(clips):
                records.write(split, f"{split}/{index}.wav", f"voice{index % 3}", index, log_mel(index))
    return tmp_path


def test_what_was_written_is_read(folder):
    batches = list(read_split(folder, "test", SPEC, 4).as_numpy_iterator())
    assert [len(batch["label"]) for batch in batches] == [4, 3]
    assert batches[0]["log_mel"].shape == (4, 3, 2, 1)
    for batch in batches:
        for features, label, name, speaker in zip(
            *(batch[k] for k in ("log_mel", "label", "name", "speaker")), strict=True
        ):
            np.testing.assert_array_equal(features[..., 0], log_mel(label))
            assert (name.decode(), speaker.decode()) == (f"test/{label}.wav", f"voice{label % 3}")


def test_a_record_is_a_plain_example_that_anyone_can_read(folder):
    example = tf.train.Example.FromString(
        next(iter(tf.data.TFRecordDataset(dataset.shards_of(folder, "test")))).numpy()
    )
    feature = example.features.feature
    index = feature["label"].int64_list.value[0]
    values = np.frombuffer(feature["log_mel"].bytes_list.value[0], "<f4").reshape(3, 2)
    np.testing.assert_array_equal(values, log_mel(index))


def test_splits_are_sharded_and_named_so(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "test-00000-of-00001.tfrecord",
        "train-00000-of-00003.tfrecord",
        "train-00001-of-00003.tfrecord",
        "train-00002-of-00003.tfrecord",
        "validation-00000-of-00001.tfrecord",
    ]


def order(folder, seed: int, epoch: int) -> list[int]:
    return [int(x) for _, labels in training_batches(folder, SPEC, 8, seed, epoch) for x in labels]


def test_each_epoch_has_all_clips_in_an_order_of_its_own_that_follows_from_the_seed(folder):
    assert sorted(order(folder, 1, 1)) == list(range(50))
    assert order(folder, 1, 1) == order(folder, 1, 1)
    assert order(folder, 1, 1) != order(folder, 1, 2)
    assert order(folder, 1, 1) != order(folder, 2, 1)


def test_a_network_is_given_features_and_labels(folder):
    features, labels = next(iter(features_and_labels(read_split(folder, "validation", SPEC, 64))))
    assert features.shape == (5, 3, 2, 1)
    assert sorted(labels.numpy()) == [0, 1, 2, 3, 4]


def test_a_split_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no test clips: run dvc repro"):
        read_split(tmp_path, "test", SPEC, 4)


def test_a_full_disk_is_told_as_python_does(tmp_path, monkeypatch):
    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", full)
    with RecordWriter(tmp_path, SPEC["clips"]) as records, pytest.raises(OSError, match="No space left") as error:
        records.write("train", "a.wav", "voice", 0, log_mel(0))
    assert error.value.errno == errno.ENOSPC
