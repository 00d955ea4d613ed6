"""The cached features as TensorFlow's data sets, for training."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from kws.records.clips import shards_of
from kws.records.spec import FeatureSpec

SHUFFLE_BUFFER = 8192  # clips; bounds the memory. Larger sets are mixed well, since their shards come in random order


def read_split(folder: Path, split: str, spec: FeatureSpec, batch_size: int) -> tf.data.Dataset:
    """One split in fixed order, in batches: {"log_mel": (clips, frames, mel_bins, 1), "label", "name", "speaker"}."""
    batches = _read(tf.data.TFRecordDataset([str(path) for path in shards_of(folder, split)]), spec, split, batch_size)
    margin, frames, offset = spec.front_end.margin, spec.front_end.frames, spec.front_end.log_offset

    def finish(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        power = batch.pop("mel_power")[:, margin : margin + frames, :, None]
        return batch | {"log_mel": tf.math.log(power + offset)}

    return batches.map(finish).prefetch(2)


def training_batches(folder: Path, spec: FeatureSpec, batch_size: int, seed: int, epoch: int) -> tf.data.Dataset:
    """The training split in an order drawn for this epoch: {"mel_power": (clips, frames + 2 margin, mel_bins), ...}.

    The order depends only on (seed, epoch), so a resumed training sees the same batches.
    """
    rng = np.random.default_rng((seed, epoch))
    shards = [str(path) for path in shards_of(folder, "train")]
    records = tf.data.TFRecordDataset(rng.permutation(shards))
    records = records.shuffle(SHUFFLE_BUFFER, seed=int(rng.integers(2**31)))
    return _read(records, spec, "train", batch_size)


def _read(records: tf.data.Dataset, spec: FeatureSpec, split: str, batch_size: int) -> tf.data.Dataset:
    text = tf.io.FixedLenFeature([], tf.string)
    features = {"mel_power": text, "label": tf.io.FixedLenFeature([], tf.int64), "name": text, "speaker": text}
    shape = (-1, spec.front_end.frames + 2 * spec.front_end.margin, spec.front_end.mel_bins)

    def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = tf.io.parse_example(serialized, features)
        values = tf.io.decode_raw(batch["mel_power"], tf.float32, little_endian=True)
        return batch | {"mel_power": tf.reshape(values, shape)}

    counted = records.apply(tf.data.experimental.assert_cardinality(spec.clips[split]))
    return counted.batch(batch_size).map(parse)
