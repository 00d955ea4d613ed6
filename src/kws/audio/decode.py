"""From the bytes of a recording to samples: one channel, one sample rate.

The content says what a file is; its name does not count. libsndfile reads WAV, AIFF, CAF, FLAC, Ogg, Opus, MP3 and
others. FFmpeg (package `av`, the extra `kws[media]`) reads AAC, M4A, MP4, 3GP, WebM, AMR, WMA, WavPack and others.
"""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from kws.audio.formats import HEAD_BYTES, needs_ffmpeg, sound_format
from kws.audio.mono import Mono, UnusableClipError, check_sound, clipped_samples

LONGEST_SECONDS = 600  # of a recording that is decoded as a whole
MOST_SAMPLES = 2**26  # of all its channels: bounds the memory where there are many, or a high rate
BLOCK_SECONDS = 1  # the part of a long recording that is in memory
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz
MOST_CHANNELS = 64
UNKNOWN_SIZE = 0x7FFF_0000  # bytes: programs that write into a pipe put such a number, or a larger one, into the header
CLIPPED_SHARE = 0.001  # of the samples; above it a recording is said to be clipped
# RIFF, its size, WAVE and fmt, 16, PCM, one channel, rate, bytes a second, bytes a sample, bits, data, its size
_WAV_HEADER = struct.Struct("<4s4x8sIHHIIHH4sI")
EXTRA = "the package av: pip install 'kws[media]'"
# Containers of sound. Others, such as playlists, may name files and addresses that FFmpeg would open.
_CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,webm,wv"
)


@dataclass(frozen=True)
class Sound:
    """A decoded recording.

    Attributes:
        samples: float32 (samples,), full scale = 1.
        remarks: what was mended, and what is doubtful.
    """

    samples: np.ndarray
    remarks: tuple[str, ...] = ()


class _UnreadableError(Exception):
    """A decoder does not read a file."""


# rate, and samples: float32 (samples, channels), or (samples,) of one channel
_Block = tuple[int, np.ndarray]
_Decoder = Callable[[BinaryIO], Iterator[_Block]]


def decode_recording(
    data: bytes,
    sample_rate: int,
    longest_seconds: int = LONGEST_SECONDS,
    *,
    longer: Literal["refuse", "cut"] = "refuse",
    may_be_silent: bool = False,
) -> Sound:
    """The samples of an audio file. Channels are averaged, other rates resampled by SoXR at its highest quality.

    Args:
        data: the file.
        sample_rate: of the result, in Hz.
        longest_seconds: the recording may last.
        longer: whether a longer recording is refused, or cut there, with a remark.
        may_be_silent: whether samples that are all the same are sound.

    Raises:
        UnusableClipError: the data is no audio, or there is no sound in it.
    """
    if not data:
        raise UnusableClipError("empty file")
    mono = Mono()
    if plain := _plain_wav(data):
        rate, parts = plain
    else:
        rate, parts, decoder = _whole(data, longest_seconds)
        mono.remarks += _header_remarks(data, decoder)
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    seconds = _longest(longest_seconds, rate, samples)
    if len(samples) > seconds * rate:
        if longer == "refuse":
            raise UnusableClipError(f"longer than {seconds} s")
        mono.remarks.append(f"cut: only the first {seconds} s are used")
    samples = mono(samples[: seconds * rate])
    if not may_be_silent or not len(samples):
        check_sound(samples)
    if (clipped := clipped_samples(samples)) > CLIPPED_SHARE * len(samples):
        mono.remarks.append(f"clipped: {clipped} samples at full scale")
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate, quality="VHQ")
    return Sound(samples, tuple(mono.remarks))


def read_blocks(source: Path | BinaryIO, sample_rate: int) -> Iterator[np.ndarray]:
    """The samples of an audio file of any length, one block at a time, as in `decode_recording`; it may be silent.

    Args:
        source: a file, or a pipe (which needs FFmpeg).
        sample_rate: of the result, in Hz.

    Yields:
        float32 (samples,), full scale = 1; the blocks differ in length.

    Raises:
        UnusableClipError: the file is no audio, has no samples, or cannot be opened.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                yield from read_blocks(file, sample_rate)
        except OSError as error:
            raise UnusableClipError(error.strerror or str(error)) from None
        return
    mono = Mono()
    resampler = None
    heard = 0
    for rate, samples in _blocks(source):
        heard += len(samples)
        if rate != sample_rate and resampler is None:
            resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="VHQ")
        yield mono(samples) if resampler is None else resampler.resample_chunk(mono(samples))
    if not heard:
        raise UnusableClipError("no samples")
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _plain_wav(data: bytes) -> tuple[int, list[np.ndarray]] | None:
    """Rate and samples of the most common file, a WAV with 16 bits and one channel; None for other files.

    libsndfile gives the same numbers, and takes five times as long.
    """
    if len(data) < _WAV_HEADER.size:
        return None
    *fixed, rate, _, _, bits, mark, size = _WAV_HEADER.unpack_from(data)
    if [*fixed, bits, mark] != [b"RIFF", b"WAVEfmt ", 16, 1, 1, 16, b"data"] or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        return None
    if not 2 <= size <= len(data) - _WAV_HEADER.size:
        return None
    return rate, [np.frombuffer(data, "<i2", size // 2, _WAV_HEADER.size) * np.float32(2**-15)]


def _whole(data: bytes, longest_seconds: int) -> tuple[int, list[np.ndarray], _Decoder]:
    """Rate and blocks of any file, and the first decoder that reads it to its end, or past the longest time."""
    reasons = []
    for decoder in _decoders(data[:HEAD_BYTES]):
        rate, parts, length = 0, [], 0
        try:
            for rate, samples in decoder(io.BytesIO(data)):
                parts.append(samples)
                length += len(samples)
                if length > _longest(longest_seconds, rate, samples) * rate:
                    break
        except _UnreadableError as problem:
            reasons.append(_damaged(problem, length, rate))
            continue
        if length:
            return rate, parts, decoder
        reasons.append("no samples")
    raise UnusableClipError(_reason(reasons))


def _header_remarks(data: bytes, decoder: _Decoder) -> list[str]:
    """What is said of a WAV whose header is wrong."""
    if decoder is _by_right_header:
        return ["wrong header: read to the end of the file"]
    [promised] = struct.unpack("<I", data[4:8].ljust(4, b"\0"))
    missing = promised + 8 - len(data)
    if data.startswith(b"RIFF") and missing > 1 and promised < UNKNOWN_SIZE:
        return [f"cut off: the header promises {missing:,} bytes more"]
    return []


def _longest(seconds: int, rate: int, samples: np.ndarray) -> int:
    """How many seconds of a recording are decoded: fewer than asked for, if it has many channels or a high rate."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return min(seconds, MOST_SAMPLES // (rate * channels))


def _blocks(file: BinaryIO) -> Iterator[_Block]:
    """The blocks of a file of any length, or of a pipe, by the first decoder that gives one."""
    head = b""
    if file.seekable():
        head = file.read(HEAD_BYTES)
        if not head:
            raise UnusableClipError("empty file")
    reasons = []
    for decoder in _decoders(head) if head else [_by_ffmpeg]:
        if head:
            file.seek(0)
        rate, length = 0, 0
        try:
            for rate, samples in decoder(file):
                length += len(samples)
                yield rate, samples
            if length:
                return
            reasons.append("no samples")
        except _UnreadableError as problem:
            if length:  # another decoder would begin again, and what was heard would be heard twice
                raise UnusableClipError(_damaged(problem, length, rate)) from None
            reasons.append(str(problem))
    raise UnusableClipError(_reason(reasons))


def _damaged(problem: _UnreadableError, length: int, rate: int) -> str:
    """The reason why a file is not read to its end, after so many samples."""
    if not length:
        return str(problem)
    return f"damaged: after {length / rate:.1f} s, {str(problem).removeprefix('not audio: ')}"


def _reason(reasons: list[str]) -> str:
    return "no samples" if "no samples" in reasons else reasons[0]


def _decoders(head: bytes) -> list[_Decoder]:
    """The decoders to try for a file that begins with these bytes, in this order."""
    if needs_ffmpeg(head):
        return [_by_ffmpeg]
    if sound_format(head) == "WAV":
        return [_by_libsndfile, _by_right_header, _by_ffmpeg]
    return [_by_libsndfile, _by_ffmpeg]


def _by_libsndfile(file: BinaryIO) -> Iterator[_Block]:
    try:
        with soundfile.SoundFile(file) as opened:
            rate = opened.samplerate
            _check(rate, opened.channels, (rate, opened.channels))
            frames = max(1, BLOCK_SECONDS * rate // max(1, opened.channels // 2))
            # The length in the header is not used: it may be missing or wrong.
            while len(samples := opened.read(frames, dtype="float32", always_2d=True)):
                yield rate, samples
    except soundfile.LibsndfileError as error:
        raise _UnreadableError(f"not audio: {error.error_string.rstrip('.')}") from None
    except (RuntimeError, ValueError, TypeError) as error:  # soundfile's own, at headers that make no sense
        raise _UnreadableError(f"not audio: {error}") from None


def _by_right_header(file: BinaryIO) -> Iterator[_Block]:
    """A WAV whose chunks have wrong sizes: what follows the word `data` is taken for samples."""
    content = file.read()
    form = content.find(b"fmt ", 12)
    place = content.find(b"data", form + 24)
    if form < 0 or place < 0:
        raise _UnreadableError("not audio: a WAV without fmt or data")
    samples = content[place + 8 :]
    [size] = struct.unpack("<I", content[form + 4 : form + 8])
    chunks = content[form : form + 8 + min(size, 40)] + b"data" + struct.pack("<I", len(samples)) + samples
    yield from _by_libsndfile(io.BytesIO(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks))


def _by_ffmpeg(file: BinaryIO) -> Iterator[_Block]:
    try:
        import av
    except ImportError:
        known = sound_format(file.read(HEAD_BYTES)) if file.seekable() else "sound from a pipe"
        raise _UnreadableError(f"{known or 'this format'} needs {EXTRA}") from None
    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(file, options={"format_whitelist": _CONTAINERS}, metadata_errors="replace") as container:
            resampler = av.AudioResampler(format="flt")  # channels side by side: PyAV crashes at more than 8 planes
            settings = None
            for frame in chain(container.decode(audio=0), [None]):
                if frame is not None:
                    before, settings = settings, (frame.sample_rate, frame.layout.nb_channels)
                    _check(*settings, before or settings)
                for part in resampler.resample(frame):
                    yield part.sample_rate, part.to_ndarray().reshape(-1, part.layout.nb_channels)
    except (_UnreadableError, UnusableClipError, GeneratorExit):
        raise
    except Exception as error:  # noqa: BLE001 (whatever a decoder says of damaged bytes, the recording is unreadable)
        raise _UnreadableError(f"not audio: {getattr(error, 'strerror', None) or error}") from None


def _check(rate: int, channels: int, before: tuple[int, int]) -> None:
    """Refuses a part of a file whose rate and channels make no sense, or differ from those of the part before."""
    if (rate, channels) != before:
        raise _UnreadableError("the sample rate or the number of channels changes")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UnusableClipError(f"a sample rate of {rate} Hz")
    if channels > MOST_CHANNELS:
        raise UnusableClipError(f"{channels} channels, more than {MOST_CHANNELS}")
