"""The Mel scale and its filter bank, as in `tf.signal` (HTK's formula, triangles that peak at 1)."""

import numpy as np


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Mel of a frequency in Hz: 1127 ln(1 + f / 700), O'Shaughnessy (1987), as in HTK."""
    return 1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """The inverse of `hz_to_mel`."""
    return 700.0 * np.expm1(np.asarray(mel, dtype=np.float64) / 1127.0)


def mel_matrix(sample_rate: int, fft_length: int, mel_bins: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Weights that turn a power spectrum into Mel power.

    Agrees with `tf.signal.linear_to_mel_weight_matrix`: triangles are straight on the Mel axis, their
    corners evenly spaced on it, not normalised, and the bin at 0 Hz has weight 0.

    Returns:
        float32 (fft_length // 2 + 1, mel_bins): power spectrum @ weights = Mel power.
    """
    bins = hz_to_mel(np.linspace(0.0, sample_rate / 2, fft_length // 2 + 1))[:, None]
    corners = np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), mel_bins + 2)
    low, peak, high = corners[:-2], corners[1:-1], corners[2:]
    weights = np.maximum(0.0, np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)))
    weights[0] = 0.0
    return weights.astype(np.float32)
