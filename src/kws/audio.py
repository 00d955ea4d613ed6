"""From the bytes of a recording to samples of one length, rate and channel."""

import io
import struct

import numpy as np
import soundfile
import soxr

LONGEST_SECONDS = 60  # a recording of one word; also bounds the memory
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz
_PLAIN_WAV = struct.Struct(
    "<4s4x8sIHHI6xH4sI"
)  # RIFF, WAVEfmt, its length, PCM, channels, rate, bits, data, its length


class UnusableClipError(Exception):
    """A recording that no features can be computed from; its text is the reason."""


def decode_clip(data: bytes, sample_rate: int, longest_seconds: int = LONGEST_SECONDS) -> np.ndarray:
    """The sound of an audio file (whatever libsndfile reads: WAV, FLAC, Ogg, Opus, MP3).

    Channels are averaged; other rates are resampled by SoXR at its highest quality.

    Returns:
        float32 (samples,), at `sample_rate`, full scale = 1.

    Raises:
        UnusableClipError: no audio, none in it, or nothing but zeros.
    """
    if not data:
        raise UnusableClipError("empty file")
    rate, samples = _plain_wav(data) or _read(data, longest_seconds)
    if len(samples) > longest_seconds * rate:
        raise UnusableClipError(f"longer than {longest_seconds} s")
    if not len(samples):
        raise UnusableClipError("no samples")
    if not np.isfinite(samples).all():
        raise UnusableClipError("samples that are not numbers")
    if not samples.any():
        raise UnusableClipError("silent: every sample is zero")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    return mono if rate == sample_rate else soxr.resample(mono, rate, sample_rate, quality="VHQ")


def _plain_wav(data: bytes) -> tuple[int, np.ndarray] | None:
    """Rate and samples of the commonest file, a WAV of 16 bits and one channel with nothing else in it; None: another.

    libsndfile gives the same numbers, and takes five times as long.
    """
    if len(data) < _PLAIN_WAV.size:
        return None
    *kind, rate, bits, name, size = _PLAIN_WAV.unpack_from(data)
    plain = kind == [b"RIFF", b"WAVEfmt ", 16, 1, 1] and (bits, name) == (16, b"data")
    if not plain or size % 2 or size != len(data) - _PLAIN_WAV.size or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        return None
    return rate, np.frombuffer(data, "<i2", offset=_PLAIN_WAV.size) * np.float32(2**-15)


def _read(data: bytes, longest_seconds: int) -> tuple[int, np.ndarray]:
    """Rate and samples (samples, channels) of any file."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise UnusableClipError(f"a sample rate of {rate} Hz")
            # Not by the length that the header gives, which may be unknown, or a lie.
            samples = file.read(longest_seconds * rate + 1, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise UnusableClipError(f"not audio: {error.error_string.rstrip('.')}") from None
    return rate, samples
