"""The cached features as TensorFlow's data sets, for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import tensorflow as tf

from kws.audio import micro
from kws.audio.frontend import FrontEnd
from kws.records.clips import shard_number, shards_of
from kws.records.format import count_records
from kws.records.spec import FeatureSpec

SHUFFLE_BUFFER = 8192  # clips; bounds the memory. Larger sets are mixed well, since their shards come in random order


@dataclass(frozen=True)
class Part:
    """What one of several workers reads of a split: every `workers`-th shard, from shard `worker` on.

    So a worker needs no other shards of the split, and all workers together read each clip once.

    Attributes:
        worker: number of the worker, from 0.
        workers: how many there are.
        shards: its files.
        clips: how many clips they hold.
    """

    worker: int
    workers: int
    shards: list[Path]
    clips: int

    @classmethod
    def of(cls, folder: Path, split: str, worker: int, workers: int) -> Self:
        """The part of a worker, from the shards that are here; errors as in `count_records`."""
        here = sorted(folder.glob(f"{split}-*.tfrecord"))
        shards = [path for path in here if shard_number(path) % workers == worker]
        return cls(worker, workers, shards, sum(map(count_records, shards)))

    def batch_sizes(self, batches: int) -> np.ndarray:
        """So many batches, as equal as can be, that hold each clip once; int64 (batches,)."""
        return np.diff(np.arange(batches + 1) * self.clips // batches)


def read_split(
    folder: Path, split: str, spec: FeatureSpec, batch_size: int, *, part: Part | None = None
) -> tf.data.Dataset:
    """One split, or a worker's part of it, in fixed order and in batches.

    {"log_mel": (clips, frames, mel_bins, 1), "label", "name", "speaker"}
    """
    records = tf.data.TFRecordDataset([str(path) for path in (part.shards if part else shards_of(folder, split))])
    front_end = spec.front_end

    def finish(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if front_end.kind == "micro":
            shape = (-1, front_end.frames, front_end.mel_bins, 1)
            whole = tf.io.decode_raw(batch.pop("features"), tf.uint16, little_endian=True)
            return batch | {"log_mel": micro.SCALE * tf.reshape(tf.cast(whole, tf.float32), shape)}
        power = _mel_power(batch.pop("mel_power"), front_end)[:, front_end.clip_frames, :, None]
        return batch | {"log_mel": tf.math.log(power + front_end.log_offset)}

    sound = "features" if front_end.kind == "micro" else "mel_power"
    clips = part.clips if part else spec.clips[split]
    return _parsed(_counted(records, clips).batch(batch_size), sound).map(finish).prefetch(2)


def training_batches(  # noqa: PLR0913 (an order has that many origins)
    folder: Path,
    spec: FeatureSpec,
    batch_size: int,
    seed: int,
    epoch: int,
    *,
    split: str = "train",
    part: Part | None = None,
) -> tf.data.Dataset:
    """The training split in an order drawn for this epoch, with Mel power as `FrontEnd.with_margins` gives it.

    {"mel_power": (clips, lead + frames + 2 margin, mel_bins), "label", "name", "speaker"}. The order depends only on
    (seed, epoch), so a resumed training sees the same batches. Another split can be had so, too, but not of front end
    `micro`, whose records of other splits have no power. A worker's part comes in as many batches as the whole split.
    """
    rng = np.random.default_rng((seed, epoch))
    shards = [str(path) for path in (part.shards if part else shards_of(folder, split))]
    records = tf.data.TFRecordDataset(rng.permutation(shards))
    records = records.shuffle(SHUFFLE_BUFFER, seed=int(rng.integers(2**31)))
    front_end = spec.front_end
    sound = "magnitude" if front_end.kind == "micro" else "mel_power"
    if part:
        sizes = part.batch_sizes(-(-spec.clips[split] // batch_size))
        batches = _counted(records, part.clips).batch(max(sizes)).rebatch(sizes)
    else:
        batches = _counted(records, spec.clips[split]).batch(batch_size)
    return _parsed(batches, sound).map(lambda batch: batch | {"mel_power": _mel_power(batch.pop(sound), front_end)})


def _counted(records: tf.data.Dataset, clips: int) -> tf.data.Dataset:
    """The records, which must be so many."""
    return records.apply(tf.data.experimental.assert_cardinality(clips))


def _parsed(batches: tf.data.Dataset, sound: str) -> tf.data.Dataset:
    """Batches of records: {"label", "name", "speaker"} and the field of the sound, as bytes."""
    text = tf.io.FixedLenFeature([], tf.string)
    features = {sound: text, "label": tf.io.FixedLenFeature([], tf.int64), "name": text, "speaker": text}
    return batches.map(lambda serialized: tf.io.parse_example(serialized, features))


def _mel_power(sound: tf.Tensor, front_end: FrontEnd) -> tf.Tensor:
    """Mel power with lead and margins from the bytes of records; those of front end `micro` hold its square root."""
    shape = (-1, front_end.lead + front_end.frames + 2 * front_end.margin, front_end.mel_bins)
    if front_end.kind == "micro":
        magnitude = tf.io.decode_raw(sound, tf.float16, little_endian=True)
        return tf.reshape(tf.square(tf.cast(magnitude, tf.float32)), shape)
    return tf.reshape(tf.io.decode_raw(sound, tf.float32, little_endian=True), shape)
