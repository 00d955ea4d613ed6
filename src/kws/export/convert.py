"""From the networks that train wrote to files for devices: the front end before them, the softmax behind the 8 bits.

waveform (1, clip_samples) -> log-Mel (1, frames, mel_bins, 1) -> logits (1, classes) -> probabilities (1, classes)

A stream takes a step of the waveform, or of the features, in place of a clip's. Its network and its front end keep what
they need of the steps before.

Each arrow is converted by itself, and `kws.export.flatbuffer` joins them. So the front end and the softmax of the int8
model are in float32 by construction, and all models with 8 bits hold the same network. The networks are not converted
here: they are the files that train wrote and evaluate judged.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kws.audio.frontend import FrontEnd
from kws.export.flatbuffer import join, with_output
from kws.records.spec import FeatureSpec
from kws.spotting.detect import Timing
from kws.train.litert import to_litert
from kws.train.streaming import Ring

BANDS = 8  # of the Mel filter bank


def convert_network(
    network: bytes,
    network_int8: bytes,
    spec: FeatureSpec,
    detection: Mapping[str, Any],
    streams: Sequence[bytes] = (),
) -> dict[str, bytes]:
    """The LiteRT files of a network, by kind as in KINDS; same network, same bytes.

    Args:
        network: the network as `kws.train.litert.network_file` makes it.
        network_int8: the same in 8 bits, as `kws.train.litert.network_int8_file` makes it.
        spec: of the features; its classes are the network's.
        detection: when a word is detected in a stream, as `kws.export.detection` says it.
        streams: the same two networks step by step, as `stream_file` and `stream_int8_file` make them; none if the
            network is not causal.
    """
    front_end = spec.front_end
    inside = front_end.kind == "log_mel"  # the other one is in fixed point, which LiteRT has no operators for
    about = {"classes": spec.classes, **detection, "front_end": front_end.to_json()}
    front = [to_litert(front_end_model(front_end))] if inside else []
    int8 = with_output(network_int8, "logits")
    last = keras.Input((len(spec.classes),), batch_size=1, name="logits")
    softmax = to_litert(keras.Model(last, keras.ops.softmax(last)))
    parts = {
        "float32": [*front, with_output(network, "probabilities")],
        "int8": [*front, int8, softmax],
        "features": [int8, softmax],
    }
    files = {kind: join(joined, {"kind": kind} | about) for kind, joined in parts.items()}
    if streams:
        stream, stream_int8 = streams
        frames = Timing.of(front_end.clip_samples, front_end.hop_length).step_frames
        front = [to_litert(front_end_stream(front_end, frames))] if inside else []
        parts = {
            "stream": [*front, with_output(stream, "probabilities")],
            "stream_features": [with_output(stream_int8, "logits"), softmax],
        }
        about["step_frames"] = frames
        files |= {kind: join(joined, {"kind": kind} | about) for kind, joined in parts.items()}
    return files


def front_end_model(front_end: FrontEnd) -> keras.Model:
    """The front end as a network: waveform (1, clip_samples) -> log-Mel (1, frames, mel_bins, 1)."""
    waveform = keras.Input((front_end.clip_samples,), batch_size=1, name="waveform")
    return keras.Model(waveform, _LogMel(front_end)(waveform))


def front_end_stream(front_end: FrontEnd, step_frames: int) -> keras.Model:
    """The front end step by step: waveform (1, step_samples) -> log-Mel (1, step_frames, mel_bins, 1).

    It keeps the samples that the next step's frames begin with. A step that ends with a clip ends with its last frame.
    """
    f = front_end
    kept = f.clip_samples - f.frames * f.hop_length
    step = keras.Input((step_frames * f.hop_length,), batch_size=1, name="waveform")
    return keras.Model(step, _LogMel(f)(Ring(step.shape[1] + kept)(step)))


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
