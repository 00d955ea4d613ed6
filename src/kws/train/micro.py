"""The front end of devices from Mel power on, in TensorFlow: what `kws.audio.micro` does in fixed point, in float.

Training adds noise to Mel power, and computes the features behind it. The steps are those of the library
`microfrontend` of TensorFlow Lite, with its rounding where features show it: soft sounds have few different values.
"""

import numpy as np
import tensorflow as tf

from kws.audio.micro import FFT_LENGTH, FULL_SCALE, SCALE

# Signals are whole numbers: roots of the filters' energies, where a filter weighs 4096 and the FFT divides by 512.
_SIGNAL = FULL_SCALE * 64 / FFT_LENGTH
_SMOOTHING = np.array([409, 983]) / 2**14  # 0.025 and 0.06, of even and odd channels: share of the newest frame
_REMAINING = 819 / 2**14  # 0.05: share of the signal that noise reduction leaves at least
_PCAN_STRENGTH, _PCAN_OFFSET, _PCAN_GAIN_BITS = 0.95, 80.0, 21
_CORRECTION = 8  # from signals to 16-bit samples: the FFT divides by 512, the square root of a weight is 64
_SNR_BITS = 12  # of the ratio of signal and noise behind PCAN
_LOG = 64  # the features are so many times the natural logarithm


def micro_compression(power: tf.Tensor, frames: int) -> tf.Tensor:
    """The features of the last frames of a sound.

    Args:
        power: Mel power of the sound, float32 (clips, lead + frames, mel_bins).
        frames: how many have features. Those before them settle the noise estimate, which is 0 at first.

    Returns:
        float32 (clips, frames, mel_bins), 0 to about 26.
    """
    signal = tf.floor(_SIGNAL * tf.sqrt(power))
    noise = _noise_estimate(signal, frames)
    signal = signal[:, -frames:]
    signal = tf.maximum(tf.floor(signal - noise), tf.floor(_REMAINING * signal))
    gain = tf.exp(-_PCAN_STRENGTH * tf.math.log(_CORRECTION * noise + _PCAN_OFFSET))  # four times as fast as a power
    gain = tf.floor(2**_PCAN_GAIN_BITS * gain + 0.5)
    snr = signal * gain * (_CORRECTION / 2**_PCAN_GAIN_BITS)
    shrunk = tf.floor(64 * tf.where(snr < 2, snr * snr / 4, snr - 1))
    return SCALE * tf.round(_LOG * tf.math.log(tf.maximum(_CORRECTION * shrunk, 1.0)))


def _noise_estimate(signal: tf.Tensor, frames: int) -> tf.Tensor:
    """The running mean of each channel at the last frames: estimate += smoothing (signal - estimate), frame by frame.

    The recursion is linear, so it is a product with a matrix, one for even and one for odd channels.
    """
    length, channels = signal.shape[1:]
    age = np.arange(length - frames, length)[:, None] - np.arange(length)  # of each frame at each of the last ones
    weights = [np.where(age >= 0, share * (1 - share) ** np.maximum(age, 0), 0) for share in _SMOOTHING]
    both = tf.matmul(np.concatenate(weights).astype(np.float32), signal)
    return tf.where(np.arange(channels) % 2 == 0, both[:, :frames], both[:, frames:])
