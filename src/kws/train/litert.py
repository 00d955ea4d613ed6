"""A trained network as LiteRT has it: what evaluate asks, and what export puts the front end before.

There are two files: the network as it is, and in 8 bits.
"""

import contextlib
import io
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.schema_py_generated import Model

from kws.core.errors import UserError
from kws.core.stderr import without_banners
from kws.records.clips import cached_clips
from kws.records.spec import FeatureSpec
from kws.train.models import EMBEDDING

CALIBRATION_CLIPS = 500  # what the ranges of the activations are taken from


def network_file(model: keras.Model) -> bytes:
    """A LiteRT file of a network, for one clip at a time; same network, same bytes.

    log-Mel (1, frames, mel_bins, 1) -> `embedding` (1, units) and `probabilities` (1, classes)

    Args:
        model: log-Mel (frames, mel_bins, 1) -> logits.
    """
    outputs = {"embedding": model.get_layer(EMBEDDING).output, "probabilities": keras.ops.softmax(model.outputs[0])}
    both = keras.Model(model.inputs, outputs, name="both")  # names that Keras gives depend on what was built before
    log_mel = keras.Input(model.input_shape[1:], batch_size=1, name="log_mel")
    return to_litert(keras.Model(log_mel, both(log_mel, training=False), name="network"))


def network_int8_file(model: keras.Model, calibration: np.ndarray) -> bytes:
    """The same network in 8 bits; same network and clips, same bytes.

    log-Mel (1, frames, mel_bins, 1) -> `logits` (1, classes), float32. The softmax behind them stays in float32.

    Args:
        model: log-Mel (frames, mel_bins, 1) -> logits.
        calibration: as `calibration_clips` gives them.
    """
    log_mel = keras.Input(model.input_shape[1:], batch_size=1, name="log_mel")
    logits = keras.Model(model.inputs, {"logits": model.outputs[0]}, name="logits")
    return to_litert(keras.Model(log_mel, logits(log_mel, training=False), name="network_int8"), calibration)


def calibration_clips(features: Path, spec: FeatureSpec) -> np.ndarray:
    """Log-Mel of training clips, evenly through the records: (at most CALIBRATION_CLIPS, frames, mel_bins, 1).

    They are as they were recorded. Augmented clips were no better: docs/recipes.md, "What calibrates the 8 bits".

    Args:
        features: folder of the TFRecords.
        spec: of the features.
    """
    every = max(1, -(-spec.clips["train"] // CALIBRATION_CLIPS))
    chosen = (clip.log_mel for number, clip in enumerate(cached_clips(features, "train", spec)) if number % every == 0)
    return np.stack(list(chosen))[..., None]


def to_litert(model: keras.Model, calibration: np.ndarray | None = None) -> bytes:
    """A network as a LiteRT file, of built-in operators alone; in 8 bits where clips calibrate them.

    Args:
        model: for one clip at a time.
        calibration: (clips, frames, mel_bins, 1), from which the ranges of the activations are taken.

    Raises:
        UserError: the network has a loop. The conversion to 8 bits does not survive one.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([clip[None]] for clip in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    # the converter prints the names of its temporary files
    with contextlib.redirect_stdout(io.StringIO()), without_banners(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)  # they come from the clips
        content = bytes(converter.convert())
    if Model.GetRootAs(content, 0).SubgraphsLength() > 1:
        raise UserError(f"the network {model.name} has a loop: give its recurrent layers unroll=True")
    return content
