"""The front end: a waveform becomes a log-Mel spectrogram, in NumPy, by the formulas of `tf.signal`.

waveform (samples,) -> frames -> Hann window -> FFT -> power (frames, bins) -> Mel power -> log-Mel (frames, mels)

The cache holds Mel power, with a margin before and after the clip, since training shifts clips and adds noise.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Self

import numpy as np
import scipy.fft

from kws.audio.mel import mel_matrix

BLAS_THREADS = 1  # for features; another number splits matrix products elsewhere, which changes the last digits
MARGIN_SECONDS = 0.2  # the longest shift, and room for a faster speed


@dataclass(frozen=True)
class FrontEnd:
    """The settings of the front end; lengths in samples, frequencies in Hz."""

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
    def from_params(cls, params: object) -> Self:
        """The front end of checked parameters, which have an attribute for each field."""
        return cls(**{field.name: getattr(params, field.name) for field in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON has them, and the numbers of frames that follow from them."""
        return asdict(self) | {"frames": self.frames, "margin": self.margin}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The front end that `to_json` was called on; other entries of the content are left alone."""
        return cls(**{field.name: content[field.name] for field in fields(cls)})

    @property
    def frames(self) -> int:
        """Frames in a clip; samples after the last whole frame are dropped."""
        return 1 + (self.clip_samples - self.frame_length) // self.hop_length

    @property
    def margin(self) -> int:
        """Frames that are cached before a clip, and as many after it."""
        return round(MARGIN_SECONDS * self.sample_rate / self.hop_length)

    @property
    def weights(self) -> np.ndarray:
        """The Mel filter bank, float32 (fft_length // 2 + 1, mel_bins)."""
        return _weights(self.sample_rate, self.fft_length, self.mel_bins, self.mel_low_hz, self.mel_high_hz)

    @property
    def window(self) -> np.ndarray:
        """The Hann window that each frame is multiplied by, float32 (frame_length,)."""
        return _hann(self.frame_length)

    def power(self, waveform: np.ndarray) -> np.ndarray:
        """Power spectrum of each frame: float32 (samples,) -> (frames, fft_length // 2 + 1)."""
        frames = np.lib.stride_tricks.sliding_window_view(waveform, self.frame_length)[:: self.hop_length]
        spectrum = scipy.fft.rfft(frames * self.window, n=self.fft_length, overwrite_x=True)
        squares = spectrum.view(np.float32)  # real and imaginary parts in turn
        np.square(squares, out=squares)
        return squares[:, ::2] + squares[:, 1::2]

    def mel_power(self, waveform: np.ndarray) -> np.ndarray:
        """Mel power: float32 (samples,) -> (frames, mel_bins)."""
        return self.power(waveform) @ self.weights

    def log_mel(self, waveform: np.ndarray) -> np.ndarray:
        """Log-Mel spectrogram: float32 (samples,) -> (frames, mel_bins).

        The offset under the logarithm is fixed, so that a clip's features depend on that clip alone.
        """
        return np.log(self.mel_power(waveform) + np.float32(self.log_offset))

    def cached_log_mel(self, cached: np.ndarray) -> np.ndarray:
        """Log-Mel of a clip from cached Mel power: (frames + 2 margin, mel_bins) -> (frames, mel_bins)."""
        return np.log(cached[self.margin : self.margin + self.frames] + np.float32(self.log_offset))

    def with_margins(self, recording: np.ndarray, start: int = 0) -> np.ndarray:
        """Mel power of a clip and its margins: float32 (samples,) -> (margin + frames + margin, mel_bins).

        The margins have the samples around the clip in a longer recording; where there are none, they are silent.
        Silent frames, a fifth of all for clips of a second, have power 0 and are not computed.

        Args:
            recording: longer or shorter than a clip.
            start: of the clip in the recording, in samples.
        """
        margin = self.margin * self.hop_length
        sound = recording[max(0, start - margin) : start + self.clip_samples + margin]
        before = margin - min(start, margin)  # samples without sound
        frames = self.frames + 2 * self.margin
        first = max(0, (before - self.frame_length) // self.hop_length + 1)
        end = min(frames, -(-(before + len(sound)) // self.hop_length))
        padded = np.zeros((end - first - 1) * self.hop_length + self.frame_length, np.float32)
        offset = before - first * self.hop_length
        heard = sound[: len(padded) - offset]
        padded[offset : offset + len(heard)] = heard
        power = np.zeros((frames, self.mel_bins), np.float32)
        power[first:end] = self.mel_power(padded)
        return power

    def noise_power(self, decibels: float) -> float:
        """Mean Mel power, over frames and bins, of white noise whose level is `decibels` of full scale."""
        energy = float(np.square(self.window).sum())
        return 10 ** (decibels / 10) * energy * float(self.weights.sum(axis=0).mean())


_weights = cache(mel_matrix)


@cache
def _hann(length: int) -> np.ndarray:
    """`tf.signal.hann_window`: periodic for an even length, symmetric for an odd one."""
    period = length if length % 2 == 0 else length - 1
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / period)).astype(np.float32)
