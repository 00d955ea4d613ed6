"""From the bytes of a recording to samples: one channel, one sample rate.

The content says what a file is; its name does not count. libsndfile reads WAV, AIFF, CAF, FLAC, Ogg, Opus, MP3 and
others. FFmpeg (package `av`, the extra `kws[media]`) reads AAC, M4A, MP4, 3GP, WebM, AMR, WMA, WavPack and others.
"""

import io
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from kws.audio.formats import HEAD_BYTES, needs_ffmpeg, sound_format
from kws.audio.mono import Mono, UnusableClipError, check_sound, clipped_samples, few_values, why_silent

LONGEST_SECONDS = 600  # of a recording that is decoded as a whole
MOST_SAMPLES = 2**26  # of all its channels: bounds the memory where there are many, or a high rate
BLOCK_SECONDS = 1  # the part of a long recording that is in memory
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz
MOST_CHANNELS = 64
UNKNOWN_SIZE = 0x7FFF_0000  # bytes: programs that write into a pipe put such a number, or a larger one, into the header
WAV_START = 2**20  # bytes in which the format and the samples of a WAV with a wrong header begin
MOST_WAV_BYTES = 2**32 - 2**10  # of samples: sizes in a WAV have 32 bits
CLIPPED_SHARE = 0.001  # of the samples; above it a recording is said to be clipped
# RIFF, its size, WAVE and fmt, 16, PCM, one channel, rate, bytes a second, bytes a sample, bits, data, its size
_WAV_HEADER = struct.Struct("<4s4x8sIHHIIHH4sI")
_CHUNK = re.compile(rb"[A-Za-z0-9_ ]{4}")  # the name of a chunk of a WAV
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
        mono.remarks += _header_remarks(data, len(data), decoder)
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    seconds = _longest(longest_seconds, rate, samples)
    if len(samples) > seconds * rate:
        if longer == "refuse":
            raise UnusableClipError(f"longer than {seconds} s")
        mono.remarks.append(f"cut: only the first {seconds} s are used")
    samples = mono(samples[: seconds * rate])
    if not may_be_silent or not len(samples):
        check_sound(samples)
    mono.remarks += _clipped_remarks(clipped_samples(samples), len(samples))
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate, quality="VHQ")
    return Sound(samples, tuple(mono.remarks))


def read_blocks(
    source: Path | BinaryIO, sample_rate: int, remarks: list[str] | None = None, *, may_be_silent: bool = True
) -> Iterator[np.ndarray]:
    """The samples of an audio file of any length, one block at a time, as in `decode_recording`.

    Args:
        source: a file, or a pipe (which needs FFmpeg).
        sample_rate: of the result, in Hz.
        remarks: gets what was mended, and what is doubtful, as soon as it is known.
        may_be_silent: whether samples that are all the same are sound.

    Yields:
        float32 (samples,), full scale = 1; the blocks differ in length.

    Raises:
        UnusableClipError: the file is no audio, has no samples, or cannot be opened; at its end, no sound was in it.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                yield from read_blocks(file, sample_rate, remarks, may_be_silent=may_be_silent)
        except OSError as error:
            raise UnusableClipError(error.strerror or str(error)) from None
        return
    mono = Mono()
    mono.remarks = [] if remarks is None else remarks
    resampler = None
    heard = clipped = 0
    values = np.zeros(0, np.float32)
    silent = why_silent(values)  # so far
    for rate, samples in _blocks(source, mono.remarks):
        block = mono(samples)
        heard += len(block)
        clipped += clipped_samples(block)
        if silent:
            values = few_values(np.concatenate([values, block]))
            silent = why_silent(values)
        if rate != sample_rate and resampler is None:
            resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="VHQ")
        yield block if resampler is None else resampler.resample_chunk(block)
    if silent and not (may_be_silent and heard):
        raise UnusableClipError(silent)
    mono.remarks += _clipped_remarks(clipped, heard)
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
    rest = len(data) - _WAV_HEADER.size - size
    if size < 2 or rest < 0 or (rest and _goes_on(io.BytesIO(data))):
        return None
    return rate, [np.frombuffer(data, "<i2", size // 2, _WAV_HEADER.size) * np.float32(2**-15)]


def _whole(data: bytes, longest_seconds: int) -> tuple[int, list[np.ndarray], _Decoder]:
    """Rate and blocks of any file, and the first decoder that reads it to its end, or past the longest time."""
    reasons = []
    for decoder in _decoders(io.BytesIO(data)):
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


def _header_remarks(head: bytes, size: int, decoder: _Decoder) -> list[str]:
    """What is said of a WAV of so many bytes whose header is wrong."""
    if decoder is _by_right_header:
        return ["wrong header: read to the end of the file"]
    [promised] = struct.unpack("<I", head[4:8].ljust(4, b"\0"))
    missing = promised + 8 - size
    if head.startswith(b"RIFF") and missing > 1 and promised < UNKNOWN_SIZE:
        return [f"cut off: the header promises {missing:,} bytes more"]
    return []


def _clipped_remarks(clipped: int, samples: int) -> list[str]:
    return [f"clipped: {clipped} samples at full scale"] if clipped > CLIPPED_SHARE * samples else []


def _longest(seconds: int, rate: int, samples: np.ndarray) -> int:
    """How many seconds of a recording are decoded: fewer than asked for, if it has many channels or a high rate."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return min(seconds, MOST_SAMPLES // (rate * channels))


def _blocks(file: BinaryIO, remarks: list[str]) -> Iterator[_Block]:
    """The blocks of a file of any length, or of a pipe, by the first decoder that gives one. Adds to the remarks."""
    head, size = b"", 0
    if file.seekable():
        head = file.read(HEAD_BYTES)
        if not head:
            raise UnusableClipError("empty file")
        size = file.seek(0, io.SEEK_END)
    reasons = []
    for decoder in _decoders(file) if head else [_by_ffmpeg]:
        if head:
            file.seek(0)
        rate, length = 0, 0
        try:
            for rate, samples in decoder(file):
                if not length:
                    remarks += _header_remarks(head, size, decoder)
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


def _decoders(file: BinaryIO) -> list[_Decoder]:
    """The decoders to try for a file that can be read twice, in this order."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if needs_ffmpeg(head):
        return [_by_ffmpeg]
    if sound_format(head) == "WAV":
        if _goes_on(file):
            return [_by_right_header, _by_libsndfile, _by_ffmpeg]
        return [_by_libsndfile, _by_right_header, _by_ffmpeg]
    return [_by_libsndfile, _by_ffmpeg]


def _goes_on(file: BinaryIO) -> bool:
    """Whether samples follow the chunk `data` of a WAV, as where a recorder died before it wrote the final size."""
    file.seek(0)
    if file.read(4) != b"RIFF":  # the others have sizes of 64 bits, or in another order
        return False
    place = 12
    name = b""
    while name != b"data":
        file.seek(place + place % 2)
        head = file.read(8)
        if len(head) < 8 or not _CHUNK.match(head):
            return False
        name, size = struct.unpack("<4sI", head)
        place = file.tell() + size
    file.seek(place)
    rest = file.read(9)
    return len(rest) == 9 and not any(_CHUNK.match(rest, pad) for pad in (0, size % 2))


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
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(WAV_START)
    form = start.find(b"fmt ", 12)
    place = start.find(b"data", form + 24)
    if form < 0 or place < 0:
        raise _UnreadableError("not audio: a WAV without fmt or data")
    samples = size - place - 8
    if samples > MOST_WAV_BYTES:
        raise UnusableClipError(f"a WAV with a wrong header, and more than {MOST_WAV_BYTES:,} bytes of samples")
    [length] = struct.unpack("<I", start[form + 4 : form + 8].ljust(4, b"\0"))
    chunks = start[form : form + 8 + min(length, 40)] + b"data" + struct.pack("<I", max(0, samples))
    header = b"RIFF" + struct.pack("<I", 4 + len(chunks) + max(0, samples)) + b"WAVE" + chunks
    yield from _by_libsndfile(io.BufferedReader(_OtherStart(header, file, place + 8)))


class _OtherStart(io.RawIOBase):
    """A file with other bytes in place of its first ones."""

    def __init__(self, start: bytes, file: BinaryIO, replaced: int) -> None:
        self._start, self._file, self._replaced = start, file, replaced
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence == io.SEEK_END:
            offset += self._file.seek(0, io.SEEK_END) - self._replaced + len(self._start)
        self._place = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        part = self._start[self._place : self._place + len(buffer)]
        if not part:
            self._file.seek(self._place - len(self._start) + self._replaced)
            part = self._file.read(len(buffer))
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)


def _by_ffmpeg(file: BinaryIO) -> Iterator[_Block]:
    try:
        import av
    except ImportError:
        known = sound_format(file.read(HEAD_BYTES)) if file.seekable() else "sound from a pipe"
        raise _UnreadableError(f"{known or 'this format'} needs {EXTRA}") from None
    av.logging.set_level(av.logging.PANIC)
    try:
        with av.open(file, options={"format_whitelist": _CONTAINERS}, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise UnusableClipError("no sound in it")  # noqa: TRY301 (goes through, see below)
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
    check_rate_and_channels(rate, channels)


def check_rate_and_channels(rate: int, channels: int) -> None:
    """Refuses a sample rate in Hz, or a number of channels, that makes no sense.

    Raises:
        UnusableClipError: it is out of range.
    """
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UnusableClipError(f"a sample rate of {rate} Hz")
    if channels < 1:
        raise UnusableClipError(f"{channels} channels")
    if channels > MOST_CHANNELS:
        raise UnusableClipError(f"{channels} channels, more than {MOST_CHANNELS}")
