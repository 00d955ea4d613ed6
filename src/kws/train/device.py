"""A word as a LiteRT file for small devices that run ESPHome's `micro_wake_word`: 8 bits, a few frames at a time.

features (1, step, mel_bins), int8 -> score (1, 1), uint8

The score is the sigmoid of the word's logit less the largest other one, in steps of 1/256. docs/esphome.md has the
format. Devices have few operators, so that the network ends in those that they have.
"""

import keras
import numpy as np

from kws.spotting.device_rule import HIGHEST_FEATURE
from kws.train.litert import to_litert
from kws.train.streaming import CONVOLUTIONS, stream_model

layers = keras.layers
STEP, STRIDED_STEP = 3, 4  # frames from one score to the next; the second for networks that skip frames


def device_step(model: keras.Model) -> int:
    """How many frames of 10 ms a device gives this network at once."""
    strided = any(layer.strides[0] > 1 for layer in model.layers if isinstance(layer, CONVOLUTIONS))
    return STRIDED_STEP if strided else STEP


def device_model(model: keras.Model, word: int) -> keras.Model:
    """A network for one word: features (1, step, mel_bins), step after step, to its probability (1, 1).

    Args:
        model: a causal network, log-Mel (frames, mel_bins, 1) -> logits, whose last layer is dense.
        word: its class.
    """
    last = model.layers[-1]
    frames, mel_bins = device_step(model), model.input_shape[2]
    kernel, bias = last.kernel.numpy(), last.bias.numpy() if last.use_bias else np.zeros(last.units)
    others = np.delete(np.arange(last.units), word)

    features = keras.Input((frames, mel_bins), batch_size=1, name="features")
    before_last = keras.Model(model.inputs[0], last.input)
    x = stream_model(before_last, frames)(layers.Reshape((frames, mel_bins, 1))(features))
    more = layers.Dense(len(others), name="others_less_word")
    x = more(x)
    more.set_weights([kernel[:, others] - kernel[:, [word]], bias[others] - bias[word]])
    if len(others) > 1:  # a pool is the maximum that devices have
        x = layers.MaxPooling2D((len(others), 1))(layers.Reshape((len(others), 1, 1))(x))
        x = layers.Reshape((1,))(x)
    minus = layers.Dense(1, use_bias=False, name="minus")
    x = minus(x)
    minus.set_weights([np.array([[-1.0]])])
    return keras.Model(features, keras.ops.sigmoid(x), name="device")


def device_file(model: keras.Model, word: int, calibration: np.ndarray) -> bytes:
    """The LiteRT file of a word; same network and clips, same bytes.

    Args:
        model: as for `device_model`.
        word: its class.
        calibration: as `kws.train.litert.calibration_clips` gives them, from front end `micro`.
    """
    step = device_step(model)
    steps = calibration[:, : calibration.shape[1] // step * step, :, 0].reshape(-1, step, calibration.shape[2])
    steps = np.clip(steps, 0, HIGHEST_FEATURE)
    steps[0, 0, :2] = 0, HIGHEST_FEATURE  # the input has this scale, whatever the clips hold
    return to_litert(device_model(model, word), steps, bytes_alone=True)
