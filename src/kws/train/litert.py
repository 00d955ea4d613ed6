"""A trained network as LiteRT has it: what evaluate asks, and what export puts the front end before.

There are two files: the network as it is, and in 8 bits. A causal network has two more, which hear step by step.
"""

import contextlib
import io
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.schema_py_generated import BuiltinOperator, Model

from kws.core.errors import UserError
from kws.core.stderr import without_banners
from kws.records.clips import cached_clips
from kws.records.spec import FeatureSpec
from kws.train.models import EMBEDDING
from kws.train.streaming import stream_model

layers = keras.layers
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


def stream_file(model: keras.Model, step_frames: int) -> bytes:
    """A LiteRT file of a causal network that hears step by step, its state inside; same network, same bytes.

    log-Mel (1, step_frames, mel_bins, 1) -> `probabilities` (1, classes)

    Args:
        model: as `stream_model` takes it, and the same errors.
        step_frames: a multiple of the network's stride over time.
    """
    stream = stream_model(model, step_frames)
    return to_litert(
        keras.Model(stream.inputs, {"probabilities": layers.Softmax(name="softmax")(stream.outputs[0])}, name="stream")
    )


def stream_int8_file(model: keras.Model, step_frames: int, calibration: np.ndarray) -> bytes:
    """The same stream in 8 bits, its state, too; same network and clips, same bytes.

    log-Mel (1, step_frames, mel_bins, 1) -> `logits` (1, classes), float32. The softmax behind them stays in float32.

    Args:
        model: as `stream_model` takes it, and the same errors.
        step_frames: a multiple of the network's stride over time.
        calibration: as `calibration_clips` gives them. The stream hears one after the other.
    """
    stream = stream_model(model, step_frames)
    frames = calibration.reshape(-1, *calibration.shape[2:])
    steps = frames[: len(frames) // step_frames * step_frames].reshape(-1, step_frames, *frames.shape[1:])
    return to_litert(keras.Model(stream.inputs, {"logits": stream.outputs[0]}, name="stream_int8"), steps)


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


def to_litert(model: keras.Model, calibration: np.ndarray | None = None, *, bytes_alone: bool = False) -> bytes:
    """A network as a LiteRT file, of built-in operators alone; in 8 bits where clips calibrate them.

    Args:
        model: for one clip at a time, or for one step of a stream.
        calibration: (clips, frames, mel_bins, 1), from which the ranges of the activations are taken, or steps of a
            stream in their order.
        bytes_alone: whether input (int8) and output (uint8) are in 8 bits, too.

    Raises:
        UserError: the network has a loop. The conversion to 8 bits does not survive one.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([clip[None]] for clip in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter._experimental_variable_quantization = True  # noqa: SLF001 (else the state of a stream stays float32)
    if bytes_alone:
        converter.inference_input_type, converter.inference_output_type = tf.int8, tf.uint8
        # the runtimes of devices are older than a scale for each output of a dense layer
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True  # noqa: SLF001
    # the converter prints the names of its temporary files
    with contextlib.redirect_stdout(io.StringIO()), without_banners(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)  # they come from the clips
        content = bytes(converter.convert())
    file = Model.GetRootAs(content, 0)
    if any(file.OperatorCodes(i).BuiltinCode() == BuiltinOperator.WHILE for i in range(file.OperatorCodesLength())):
        raise UserError(f"the network {model.name} has a loop: give its recurrent layers unroll=True")
    return content
