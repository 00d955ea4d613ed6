"""From the networks that train wrote to files for devices: the front end before them, the softmax behind the 8 bits.

waveform (1, clip_samples) -> log-Mel (1, frames, mel_bins, 1) -> logits (1, classes) -> probabilities (1, classes)

Each arrow is converted by itself, and `kws.export.flatbuffer` joins them. So the front end and the softmax of the int8
model are in float32 by construction, and all models with 8 bits hold the same network. The networks are not converted
here: they are the files that train wrote and evaluate judged.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kws.audio.frontend import FrontEnd
from kws.export.flatbuffer import join, with_output
from kws.records.spec import FeatureSpec
from kws.spotting.litert import KINDS
from kws.train.litert import to_litert

BANDS = 8  # of the Mel filter bank


def convert_network(
    network: bytes, network_int8: bytes, spec: FeatureSpec, detection: Mapping[str, Any]
) -> dict[str, bytes]:
    """The LiteRT files of a network, by kind as in KINDS; same network, same bytes.

    Args:
        network: the network as `kws.train.litert.network_file` makes it.
        network_int8: the same in 8 bits, as `kws.train.litert.network_int8_file` makes it.
        spec: of the features; its classes are the network's.
        detection: when a word is detected in a stream, as `kws.export.detection` says it.
    """
    front = to_litert(front_end_model(spec.front_end))
    float32 = with_output(network, "probabilities")
    int8 = with_output(network_int8, "logits")
    last = keras.Input((len(spec.classes),), batch_size=1, name="logits")
    softmax = to_litert(keras.Model(last, keras.ops.softmax(last)))

    parts = {"float32": (front, float32), "int8": (front, int8, softmax), "features": (int8, softmax)}
    about = {"classes": spec.classes, **detection, "front_end": spec.front_end.to_json()}
    return {kind: join(parts[kind], {"kind": kind} | about) for kind in KINDS}


def front_end_model(front_end: FrontEnd) -> keras.Model:
    """The front end as a network: waveform (1, clip_samples) -> log-Mel (1, frames, mel_bins, 1)."""
    waveform = keras.Input((front_end.clip_samples,), batch_size=1, name="waveform")
    return keras.Model(waveform, _LogMel(front_end)(waveform))


class _LogMel(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """`FrontEnd.log_mel` in TensorFlow, of operators that LiteRT has."""

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self._front_end = front_end

    def call(self, waveform: tf.Tensor) -> tf.Tensor:
        f = self._front_end
        frames = tf.signal.frame(waveform, f.frame_length, f.hop_length) * f.window
        if f.fft_length & (f.fft_length - 1):  # LiteRT's FFT knows powers of two
            angles = 2 * np.pi * np.outer(np.arange(f.frame_length), np.arange(f.fft_length // 2 + 1)) / f.fft_length
            real, imaginary = (frames @ part.astype(np.float32) for part in (np.cos(angles), np.sin(angles)))
        else:
            spectrum = tf.signal.rfft(frames, [f.fft_length])
            real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
        mel_power = _mel_power(real**2 + imaginary**2, f.weights)
        return tf.math.log(mel_power + np.float32(f.log_offset))[..., None]


def _mel_power(power: tf.Tensor, weights: np.ndarray) -> tf.Tensor:
    """`power @ weights`, band by band: most weights are 0, and all of them would be half of a small model's file."""
    bands = []
    for mels in np.array_split(weights, min(BANDS, weights.shape[1]), axis=1):
        used = np.flatnonzero(mels.any(axis=1))
        inside = slice(used[0], used[-1] + 1)
        bands.append(power[..., inside] @ mels[inside])
    return tf.concat(bands, axis=-1)
