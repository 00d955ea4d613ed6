"""The front end: a waveform becomes a log-Mel spectrogram, in NumPy, with the numbers of `tf.signal`.

waveform (samples,) -> frames -> Hann window -> FFT -> power (frames, bins) -> Mel power -> log-Mel (frames, mels)
"""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Self

import numpy as np
import scipy.fft

from kws.mel import mel_matrix
from kws.params import Params


@dataclass(frozen=True)
class FrontEnd:
    """What it takes to compute the same features again; lengths in samples, edges in Hz."""

    sample_rate: int
    clip_samples: int
    frame_length: int
    hop_length: int
    fft_length: int
    mel_bins: int
    mel_low_hz: float
    mel_high_hz: float
    log_offset: float

    @classmethod
    def from_params(cls, params: Params) -> Self:
        """The front end that the parameters describe."""
        return cls(
            sample_rate=params.sample_rate,
            clip_samples=params.clip_samples,
            frame_length=params.frame_length,
            hop_length=params.hop_length,
            fft_length=params.fft_length,
            mel_bins=params.mel_bins,
            mel_low_hz=params.mel_low_hz,
            mel_high_hz=params.mel_high_hz,
            log_offset=params.log_offset,
        )

    def spec(self) -> dict[str, Any]:
        """All of it in JSON's types, with the number of frames that follows."""
        return asdict(self) | {"frames": self.frames}

    @property
    def frames(self) -> int:
        """Frames in a clip; the last samples are dropped where they fill none."""
        return 1 + (self.clip_samples - self.frame_length) // self.hop_length

    @property
    def weights(self) -> np.ndarray:
        """The Mel filter bank, float32 (fft_length // 2 + 1, mel_bins)."""
        return _weights(self.sample_rate, self.fft_length, self.mel_bins, self.mel_low_hz, self.mel_high_hz)

    def power(self, waveform: np.ndarray) -> np.ndarray:
        """Power spectrum of each frame: float32 (samples,) -> (frames, fft_length // 2 + 1)."""
        frames = np.lib.stride_tricks.sliding_window_view(waveform, self.frame_length)[:: self.hop_length]
        spectrum = scipy.fft.rfft(frames * _hann(self.frame_length), n=self.fft_length)
        return spectrum.real**2 + spectrum.imag**2

    def log_mel(self, waveform: np.ndarray) -> np.ndarray:
        """Log-Mel spectrogram: float32 (samples,) -> (frames, mel_bins).

        The offset under the logarithm is fixed, so that a clip's features depend on that clip alone.
        """
        return np.log(self.power(waveform) @ self.weights + np.float32(self.log_offset))


_weights = cache(mel_matrix)


@cache
def _hann(length: int) -> np.ndarray:
    """`tf.signal.hann_window`: periodic for an even length, symmetric for an odd one."""
    period = length if length % 2 == 0 else length - 1
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / period)).astype(np.float32)
