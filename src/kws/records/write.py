"""Features on disk: TFRecords, and `background.npz`, Mel power of the background recordings.

Each record: `mel_power` (bytes: float32, little endian, margin + frames + margin times mel_bins), `label` (int64: index
into the spec's classes), `name` and `speaker` (bytes). Which shard a clip is in follows from the name of its recording
and the number of shards.

Front end `micro`: in place of `mel_power` a record holds the exact `features` (bytes: uint16, little endian, frames
times mel_bins). Training needs power, too, to add noise to: its records also hold `magnitude`, the square root of Mel
power in half the bytes (float16, little endian, lead + margin + frames + margin times mel_bins).
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import numpy as np

from kws.core.arrays import StoredArrays, write_arrays
from kws.records.format import framed, serialize

CLIPS_A_SHARD = 1024
WAITING_BYTES = 2**26  # of records that are in memory, of all shards together
BACKGROUND_FILE = "background.npz"


def shards_for(split: str, clips: int) -> list[str]:
    """The names of the files for so many clips of a split."""
    shards = -(-clips // CLIPS_A_SHARD)
    return [f"{split}-{shard:05d}-of-{shards:05d}.tfrecord" for shard in range(shards)]


def shard_of(recording: str, shards: int) -> int:
    """Which of so many shards has the clips of a recording."""
    return zlib.crc32(recording.encode()) % shards


def record_of(  # noqa: PLR0913 (a record has that many fields)
    split: str, name: str, speaker: str, label: int, mel_power: np.ndarray, *, exact: np.ndarray | None
) -> bytes:
    """A clip as a record; the arguments are those of `RecordWriter.write`."""
    fields: dict[str, bytes | int] = {"label": label, "name": name.encode(), "speaker": speaker.encode()}
    if exact is None:
        fields["mel_power"] = mel_power.astype("<f4", copy=False).tobytes()
    else:
        fields["features"] = exact.astype("<u2", copy=False).tobytes()
        if split == "train":
            fields["magnitude"] = np.sqrt(mel_power).astype("<f2").tobytes()
    return framed(serialize(fields))


class RecordWriter:
    """Writes clips into the shards of their splits; a context manager.

    Records wait in memory, and go into the shards many at a time. So one file is open at once, however many there are.

    Args:
        folder: where the shards go.
        expected: number of recordings in each split, from which the number of shards follows.
    """

    def __init__(self, folder: Path, expected: Mapping[str, int]) -> None:
        self._shards = {
            split: [folder / name for name in shards_for(split, clips)] for split, clips in expected.items()
        }
        self._waiting: defaultdict[Path, list[bytes]] = defaultdict(list)
        self._waiting_bytes = 0

    def __enter__(self) -> Self:
        for shards in self._shards.values():
            for path in shards:
                path.write_bytes(b"")
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._write_waiting()

    def write(  # noqa: PLR0913 (a record has that many fields)
        self,
        split: str,
        name: str,
        speaker: str,
        label: int,
        mel_power: np.ndarray,
        *,
        exact: np.ndarray | None = None,
        recording: str = "",
    ) -> None:
        """Appends one clip.

        Args:
            split: of the clip.
            name: of the clip.
            speaker: who speaks.
            label: index of its class.
            mel_power: as `FrontEnd.with_margins` gives it.
            exact: the features of front end `micro`, uint16 (frames, mel_bins).
            recording: that the clip is cut out of; empty: it has the clip's name.
        """
        record, shards = record_of(split, name, speaker, label, mel_power, exact=exact), self._shards[split]
        self._waiting[shards[shard_of(recording or name, len(shards))]].append(record)
        self._waiting_bytes += len(record)
        if self._waiting_bytes > WAITING_BYTES:
            self._write_waiting()

    def _write_waiting(self) -> None:
        for path, records in self._waiting.items():
            with path.open("ab") as file:
                file.writelines(records)
        self._waiting.clear()
        self._waiting_bytes = 0


def write_background_power(folder: Path, background: Iterable[tuple[str, str, np.ndarray]]) -> None:
    """Writes the Mel power of the background recordings, one at a time: split, name, float32 (frames, mel_bins)."""
    with (folder / BACKGROUND_FILE).open("wb") as file:
        write_arrays(file, ((f"{split}/{name}", power) for split, name, power in background))


def read_background_power(folder: Path, split: str) -> StoredArrays:
    """Mel power of a split's parts of the background recordings, by name: float32 (frames, mel_bins)."""
    with (folder / BACKGROUND_FILE).open("rb") as file:
        return StoredArrays(file, f"{split}/")
