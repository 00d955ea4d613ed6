"""Raw samples that come in chunks, as over a network: to one channel at one sample rate."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from kws.audio.decode import check_rate_and_channels
from kws.audio.mono import Mono, UnusableClipError

SUBTYPES = {1: "PCM_U8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}  # libsndfile's, by bytes a sample: those of a WAV


@dataclass(frozen=True)
class PcmFormat:
    """What samples are made of: integers, little-endian; unsigned if they have one byte.

    Attributes:
        rate: Hz.
        width: bytes a sample.
        channels: side by side, sample after sample.

    Raises:
        UnusableClipError: there is no such format.
    """

    rate: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        check_rate_and_channels(self.rate, self.channels)
        if self.width not in SUBTYPES:
            raise UnusableClipError(f"samples of {self.width} bytes; {', '.join(map(str, SUBTYPES))} are known")

    def __str__(self) -> str:
        return f"{self.rate} Hz, {8 * self.width} bits, {self.channels} channels"

    @property
    def bytes_at_once(self) -> int:
        """Bytes of one sample of all channels."""
        return self.width * self.channels


class PcmStream:
    """Makes one channel at one sample rate of chunks.

    Attributes:
        remarks: what was mended, as in Mono.
    """

    def __init__(self, pcm: PcmFormat, sample_rate: int) -> None:
        self._pcm = pcm
        self._mono = Mono()
        self.remarks = self._mono.remarks
        self._resampler: soxr.ResampleStream | None = None
        if pcm.rate != sample_rate:
            self._resampler = soxr.ResampleStream(pcm.rate, sample_rate, 1, dtype="float32", quality="VHQ")

    def blocks(self, chunk: bytes) -> Iterator[np.ndarray]:
        """The samples of a chunk, float32 (samples,), full scale = 1: a second at most at a time, to bound the memory.

        Args:
            chunk: whole samples of all channels.
        """
        file = io.BytesIO(chunk)
        about = {"samplerate": self._pcm.rate, "channels": self._pcm.channels, "subtype": SUBTYPES[self._pcm.width]}
        with soundfile.SoundFile(file, format="RAW", endian="LITTLE", **about) as samples:
            while len(second := samples.read(self._pcm.rate, dtype="float32", always_2d=True)):
                mono = self._mono(second)
                yield mono if self._resampler is None else self._resampler.resample_chunk(mono)

    def rest(self) -> np.ndarray:
        """What resampling holds back until the end, float32 (samples,)."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        return self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
