"""Features on disk: sharded TFRecords of `tf.train.Example`, readable with plain TensorFlow.

Each record: `log_mel` (bytes: float32, little endian, frames x mel_bins), `label` (int64: index into the spec's
words), `name` and `speaker` (bytes). Which shard a clip is in follows from its name and the number of shards.
"""

import errno
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf

from kws.errors import UserError

CLIPS_A_SHARD = 1024
SHUFFLE_BUFFER = 8192  # clips; with shards read in random order it mixes larger sets well and bounds the memory


class RecordWriter:
    """Writes clips into the shards of their splits; a context manager.

    Args:
        folder: where the shards go.
        expected: clips to come in each split; sets the number of shards.
    """

    def __init__(self, folder: Path, expected: dict[str, int]) -> None:
        self._shards = {split: -(-clips // CLIPS_A_SHARD) for split, clips in expected.items()}
        self._folder = folder
        self._stack = ExitStack()
        self._writers: dict[str, tf.io.TFRecordWriter] = {}

    def __enter__(self) -> Self:
        for split, shards in self._shards.items():
            for shard in range(shards):
                name = f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"
                writer = tf.io.TFRecordWriter(str(self._folder / name))
                self._writers[f"{split}-{shard}"] = self._stack.enter_context(writer)
        return self

    def __exit__(self, *exception: object) -> None:
        with _disk_errors(self._folder):
            self._stack.close()

    def write(self, split: str, name: str, speaker: str, label: int, log_mel: np.ndarray) -> None:
        """Appends one clip; `log_mel` is float32 (frames, mel_bins)."""
        values = {"log_mel": log_mel.astype("<f4").tobytes(), "name": name.encode(), "speaker": speaker.encode()}
        feature = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for key, v in values.items()}
        feature["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        shard = zlib.crc32(name.encode()) % self._shards[split]
        with _disk_errors(self._folder):
            self._writers[f"{split}-{shard}"].write(example.SerializeToString(deterministic=True))


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """TensorFlow has an error of its own for a full disk; here it is Python's."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, error.message, str(folder)) from None


def shards_of(folder: Path, split: str) -> list[str]:
    """The files of one split, in order.

    Raises:
        UserError: there is none.
    """
    shards = sorted(str(path) for path in folder.glob(f"{split}-*.tfrecord"))
    if not shards:
        raise UserError(f"{folder} holds no {split} clips: run dvc repro, which makes them")
    return shards


def read_split(folder: Path, split: str, spec: dict[str, Any], batch_size: int) -> tf.data.Dataset:
    """One split in fixed order, as batches of {"log_mel": (clips, frames, mel_bins, 1), "label", "name", "speaker"}."""
    records = tf.data.TFRecordDataset(shards_of(folder, split))
    return _parsed_batches(records, spec, split, batch_size)


def training_batches(folder: Path, spec: dict[str, Any], batch_size: int, seed: int, epoch: int) -> tf.data.Dataset:
    """The training split in an order drawn for this epoch, as batches of (log_mel, label).

    The order follows from (seed, epoch) alone, so a training that resumes sees what it would have seen.
    """
    rng = np.random.default_rng((seed, epoch))
    records = tf.data.TFRecordDataset(rng.permutation(shards_of(folder, "train")))
    records = records.shuffle(SHUFFLE_BUFFER, seed=int(rng.integers(2**31)))
    return features_and_labels(_parsed_batches(records, spec, "train", batch_size))


def features_and_labels(batches: tf.data.Dataset) -> tf.data.Dataset:
    """What a network learns from: (log_mel, label)."""
    return batches.map(lambda batch: (batch["log_mel"], batch["label"]))


def _parsed_batches(records: tf.data.Dataset, spec: dict[str, Any], split: str, batch_size: int) -> tf.data.Dataset:
    text = tf.io.FixedLenFeature([], tf.string)
    features = {"log_mel": text, "label": tf.io.FixedLenFeature([], tf.int64), "name": text, "speaker": text}

    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = tf.io.parse_example(serialized, features)
        values = tf.io.decode_raw(batch["log_mel"], tf.float32, little_endian=True)
        batch["log_mel"] = tf.reshape(values, (-1, spec["frames"], spec["mel_bins"], 1))
        return batch

    counted = records.apply(tf.data.experimental.assert_cardinality(spec["clips"][split]))
    return counted.batch(batch_size).map(parse).prefetch(2)
