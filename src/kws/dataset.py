"""Features on disk: sharded TFRecords of `tf.train.Example`, readable with plain TensorFlow.

Each record: `mel_power` (bytes: float32, little endian, margin + frames + margin times mel_bins), `label` (int64: index
into the spec's words), `name` and `speaker` (bytes). Which shard a clip is in follows from its name and the number of
shards. Mel power of the background recordings stands beside them, in `background.npz`.
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
BACKGROUND_FILE = "background.npz"
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

    def write(self, split: str, name: str, speaker: str, label: int, mel_power: np.ndarray) -> None:
        """Appends one clip; `mel_power` is float32 (frames + 2 margin, mel_bins)."""
        values = {"mel_power": mel_power.astype("<f4").tobytes(), "name": name.encode(), "speaker": speaker.encode()}
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
    """One split in fixed order, in batches: {"log_mel": (clips, frames, mel_bins, 1), "label", "name", "speaker"}."""
    batches = _read(tf.data.TFRecordDataset(shards_of(folder, split)), spec, split, batch_size)
    margin, offset = spec["margin"], spec["log_offset"]

    def finish(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        power = batch.pop("mel_power")[:, margin : margin + spec["frames"], :, None]
        return batch | {"log_mel": tf.math.log(power + offset)}

    return batches.map(finish).prefetch(2)


def training_batches(folder: Path, spec: dict[str, Any], batch_size: int, seed: int, epoch: int) -> tf.data.Dataset:
    """The training split in an order drawn for this epoch: {"mel_power": (clips, frames + 2 margin, mel_bins), ...}.

    The order follows from (seed, epoch) alone, so a training that resumes sees what it would have seen.
    """
    rng = np.random.default_rng((seed, epoch))
    records = tf.data.TFRecordDataset(rng.permutation(shards_of(folder, "train")))
    records = records.shuffle(SHUFFLE_BUFFER, seed=int(rng.integers(2**31)))
    return _read(records, spec, "train", batch_size)


def write_background(folder: Path, background: dict[str, dict[str, np.ndarray]]) -> None:
    """Writes the Mel power of the background recordings, by split and name: float32 (frames, mel_bins) each."""
    parts: dict[str, Any] = {
        f"{split}/{name}": power for split, recordings in background.items() for name, power in recordings.items()
    }
    np.savez(folder / BACKGROUND_FILE, **parts)


def read_background(folder: Path, split: str) -> list[np.ndarray]:
    """Mel power of the parts of the background recordings that a split may hear, as `write_background` was given it."""
    with np.load(folder / BACKGROUND_FILE) as parts:
        return [parts[name] for name in sorted(parts) if name.startswith(f"{split}/")]


def _read(records: tf.data.Dataset, spec: dict[str, Any], split: str, batch_size: int) -> tf.data.Dataset:
    text = tf.io.FixedLenFeature([], tf.string)
    features = {"mel_power": text, "label": tf.io.FixedLenFeature([], tf.int64), "name": text, "speaker": text}
    shape = (-1, spec["frames"] + 2 * spec["margin"], spec["mel_bins"])

    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = tf.io.parse_example(serialized, features)
        values = tf.io.decode_raw(batch["mel_power"], tf.float32, little_endian=True)
        return batch | {"mel_power": tf.reshape(values, shape)}

    counted = records.apply(tf.data.experimental.assert_cardinality(spec["clips"][split]))
    return counted.batch(batch_size).map(parse)
