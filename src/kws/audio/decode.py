"""From the bytes of a recording to samples: one channel, one sample rate."""

import io
import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
LONGEST_SECONDS = 60  # a recording of one word; also bounds the memory
BLOCK_SECONDS = 1  # the part of a long recording that is in memory
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz


class UnusableClipError(Exception):
    """No features can be computed from a recording. The text of the error is the reason."""


def decode_clip(data: bytes, sample_rate: int, longest_seconds: int = LONGEST_SECONDS) -> np.ndarray:
    """The samples of an audio file, in any format that libsndfile reads: WAV, FLAC, Ogg, Opus, MP3.

    Channels are averaged; other rates are resampled by SoXR at its highest quality.

    Returns:
        float32 (samples,), at `sample_rate`, full scale = 1.

    Raises:
        UnusableClipError: the data is no audio, has no samples, or only zeros.
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
    """Rate and samples of the most common file, a WAV with 16 bits and one channel; None for other files.

    libsndfile gives the same numbers, and takes five times as long.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            rate, frames = file.getframerate(), file.getnframes()
            if (file.getnchannels(), file.getsampwidth()) != (1, 2) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
                return None
            pcm = file.readframes(frames)
    except (wave.Error, EOFError):
        return None
    return (rate, np.frombuffer(pcm, "<i2") * np.float32(2**-15)) if frames and len(pcm) == 2 * frames else None


def _read(data: bytes, longest_seconds: int) -> tuple[int, np.ndarray]:
    """Rate and samples (samples, channels) of any file."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = _rate(file)
            # The length in the header is not used: it may be missing or wrong.
            return rate, file.read(longest_seconds * rate + 1, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise _not_audio(error) from None


def read_blocks(path: Path, sample_rate: int) -> Iterator[np.ndarray]:
    """The samples of an audio file of any length, one block at a time, as in `decode_clip`; zeros are allowed.

    Yields:
        float32 (samples,), at `sample_rate`, full scale = 1; the blocks differ in length.

    Raises:
        UnusableClipError: the file is no audio, has no samples, or cannot be opened.
    """
    try:
        with path.open("rb") as opened:
            yield from _blocks_of(opened, sample_rate)
    except OSError as error:
        raise UnusableClipError(error.strerror) from None
    except soundfile.LibsndfileError as error:
        raise _not_audio(error) from None


def _blocks_of(opened: BinaryIO, sample_rate: int) -> Iterator[np.ndarray]:
    if not os.fstat(opened.fileno()).st_size:
        raise UnusableClipError("empty file")
    with soundfile.SoundFile(opened) as file:
        rate = _rate(file)
        resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="VHQ")
        heard = 0
        while len(samples := file.read(BLOCK_SECONDS * rate, dtype="float32", always_2d=True)):
            if not np.isfinite(samples).all():
                raise UnusableClipError("samples that are not numbers")
            heard += len(samples)
            mono = samples.mean(axis=1)
            yield mono if rate == sample_rate else resampler.resample_chunk(mono)
    if not heard:
        raise UnusableClipError("no samples")
    if rate != sample_rate:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _rate(file: soundfile.SoundFile) -> int:
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        raise UnusableClipError(f"a sample rate of {file.samplerate} Hz")
    return int(file.samplerate)


def _not_audio(error: soundfile.LibsndfileError) -> UnusableClipError:
    return UnusableClipError(f"not audio: {error.error_string.rstrip('.')}")
