"""The front end: a waveform becomes a log-Mel spectrogram, in NumPy, by the formulas of `tf.signal`.

waveform (samples,) -> frames -> Hann window -> FFT -> power (frames, bins) -> Mel power -> log-Mel (frames, mels)

The cache holds Mel power, with a margin before and after the clip, since training shifts clips and adds noise.

Kind `micro` goes other ways after Mel power: see `kws.audio.micro`. Its features of a clip depend on the second before.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Literal, Self

import numpy as np

from kws.audio import micro
from kws.audio.mel import mel_matrix

BLAS_THREADS = 1  # for features; another number splits matrix products elsewhere, which changes the last digits
MARGIN_SECONDS = 0.2  # the longest shift, and room for a faster speed
NO_SOUND = np.zeros(0, np.float32)


@dataclass(frozen=True)
class FrontEnd:
    """The settings of the front end; lengths in samples, frequencies in Hz.

    Kind `micro` has one set of settings, `micro.SETTINGS`, and does not use log_offset for features.
    """

    sample_rate: int
    clip_samples: int
    frame_length: int
    hop_length: int
    fft_length: int
    mel_bins: int
    mel_low_hz: float
    mel_high_hz: float
    log_offset: float
    kind: Literal["log_mel", "micro"]

    @classmethod
    def from_params(cls, params: object) -> Self:
        """The front end of checked parameters, which have an attribute for each field; for kind it is `front_end`."""
        names = {field.name: field.name for field in fields(cls)} | {"kind": "front_end"}
        return cls(**{field: getattr(params, name) for field, name in names.items()})

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON has them, and the numbers of frames that follow from them."""
        return asdict(self) | {"frames": self.frames, "margin": self.margin, "lead": self.lead}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The front end that `to_json` was called on; other entries of the content are left alone.

        Files of older versions have no kind: it is `log_mel`.
        """
        content = {"kind": "log_mel", **content}
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
    def lead(self) -> int:
        """Frames of kind `micro` that its state settles in; they are cached before the first margin."""
        return round(micro.LEAD_SECONDS * self.sample_rate / self.hop_length) if self.kind == "micro" else 0

    @property
    def weights(self) -> np.ndarray:
        """The Mel filter bank, float32 (fft_length // 2 + 1, mel_bins)."""
        weights = _weights(self.sample_rate, self.fft_length, self.mel_bins, self.mel_low_hz, self.mel_high_hz)
        return micro.rounded_weights(weights) if self.kind == "micro" else weights

    @property
    def window(self) -> np.ndarray:
        """The Hann window that each frame is multiplied by, float32 (frame_length,)."""
        return micro.WINDOW / np.float32(micro.WINDOW.max()) if self.kind == "micro" else _hann(self.frame_length)

    def power(self, waveform: np.ndarray) -> np.ndarray:
        """Power spectrum of each frame: float32 (samples,) -> (frames, fft_length // 2 + 1)."""
        import scipy.fft  # which `kws predict` does without: exported models have the front end inside

        frames = np.lib.stride_tricks.sliding_window_view(waveform, self.frame_length)[:: self.hop_length]
        if self.kind == "micro":
            return micro.power(frames)
        spectrum = scipy.fft.rfft(frames * self.window, n=self.fft_length, overwrite_x=True)
        squares = spectrum.view(np.float32)  # real and imaginary parts in turn
        np.square(squares, out=squares)
        return squares[:, ::2] + squares[:, 1::2]

    def mel_power(self, waveform: np.ndarray) -> np.ndarray:
        """Mel power: float32 (samples,) -> (frames, mel_bins)."""
        return self.power(waveform) @ self.weights

    def log_mel(self, waveform: np.ndarray) -> np.ndarray:
        """Log-Mel spectrogram: float32 (samples,) -> (frames, mel_bins); kind `micro` starts cold.

        The offset under the logarithm is fixed, so that a clip's features depend on that clip alone.
        """
        if self.kind == "micro":
            return micro.micro_features(waveform)
        return np.log(self.mel_power(waveform) + np.float32(self.log_offset))

    def clip_log_mel(self, clip: np.ndarray, before: np.ndarray = NO_SOUND) -> np.ndarray:
        """The same for a clip: float32 (samples,) -> (frames, mel_bins). Kind `micro` hears a second before it.

        Args:
            clip: of any length.
            before: what was recorded before the clip. What is missing of a second is made: `micro.sound_before`.
        """
        if self.kind == "log_mel":
            return self.log_mel(clip)
        before = micro.sound_before(clip, before, self.lead * self.hop_length)
        return self.log_mel(np.concatenate([before, clip]))[self.lead :]

    def cached_log_mel(self, cached: np.ndarray) -> np.ndarray:
        """Log-Mel of a clip, float32 (frames, mel_bins), from what the cache holds.

        Args:
            cached: Mel power as `with_margins` gives it; of kind `micro`, whole numbers (frames, mel_bins).
        """
        if self.kind == "micro":
            return cached * np.float32(micro.SCALE)
        return np.log(cached[self.clip_frames] + np.float32(self.log_offset))

    def with_margins(self, recording: np.ndarray, start: int = 0) -> np.ndarray:
        """Mel power of a clip and its margins: float32 (samples,) -> (lead + margin + frames + margin, mel_bins).

        The margins have the samples around the clip in a longer recording; where there are none, they are silent.
        Silent frames, a fifth of all for clips of a second, have power 0 and are not computed. For kind `micro` no
        sound before the clip is silent: it is made as for `clip_log_mel`.

        Args:
            recording: longer or shorter than a clip.
            start: of the clip in the recording, in samples.
        """
        lead, margin = (self.lead + self.margin) * self.hop_length, self.margin * self.hop_length
        clip, before = recording[start : start + self.clip_samples], recording[max(0, start - lead) : start]
        if self.kind == "micro":
            before = micro.sound_before(clip, before, lead)
        sound = np.concatenate([before, recording[start : start + self.clip_samples + margin]])
        silent = lead - len(before)  # samples
        frames = self.lead + self.frames + 2 * self.margin
        first = max(0, (silent - self.frame_length) // self.hop_length + 1)
        end = min(frames, -(-(silent + len(sound)) // self.hop_length))
        padded = np.zeros((end - first - 1) * self.hop_length + self.frame_length, np.float32)
        offset = silent - first * self.hop_length
        heard = sound[: len(padded) - offset]
        padded[offset : offset + len(heard)] = heard
        power = np.zeros((frames, self.mel_bins), np.float32)
        power[first:end] = self.mel_power(padded)
        return power

    @property
    def clip_frames(self) -> slice:
        """Where the clip is in what `with_margins` gives."""
        return slice(self.lead + self.margin, self.lead + self.margin + self.frames)

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
