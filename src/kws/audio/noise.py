"""Noise of any colour."""

import numpy as np


def coloured_noise(rng: np.random.Generator, length: int, slope: float, sample_rate: int) -> np.ndarray:
    """Noise whose amplitude is proportional to frequency ** slope: float64 (length,), mean power 1."""
    frequency = np.fft.rfftfreq(length, 1 / sample_rate).clip(20)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(length)) * frequency**slope, length)
    return noise / np.sqrt(np.mean(noise**2))
