"""Features on disk: TFRecords, and `background.npz`, Mel power of the background recordings.

Each record: `mel_power` (bytes: float32, little endian, margin + frames + margin times mel_bins), `label` (int64: index
into the spec's classes), `name` and `speaker` (bytes). Which shard a clip is in follows from its name and the number of
shards.
"""

import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from kws.records.format import framed, serialize

CLIPS_A_SHARD = 1024
BACKGROUND_FILE = "background.npz"


class RecordWriter:
    """Writes clips into the shards of their splits; a context manager.

    Args:
        folder: where the shards go.
        expected: number of clips in each split, from which the number of shards follows.
    """

    def __init__(self, folder: Path, expected: Mapping[str, int]) -> None:
        self._shards = {split: -(-clips // CLIPS_A_SHARD) for split, clips in expected.items()}
        self._folder = folder
        self._stack = ExitStack()
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Self:
        for split, shards in self._shards.items():
            for shard in range(shards):
                path = self._folder / f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"
                self._files[f"{split}-{shard}"] = self._stack.enter_context(path.open("wb"))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def write(self, split: str, name: str, speaker: str, label: int, mel_power: np.ndarray) -> None:
        """Appends one clip; `mel_power` is float32 (frames + 2 margin, mel_bins)."""
        example = serialize(
            {
                "label": label,
                "mel_power": mel_power.astype("<f4", copy=False).tobytes(),
                "name": name.encode(),
                "speaker": speaker.encode(),
            }
        )
        shard = zlib.crc32(name.encode()) % self._shards[split]
        self._files[f"{split}-{shard}"].write(framed(example))


def write_background_power(folder: Path, background: dict[str, dict[str, np.ndarray]]) -> None:
    """Writes the Mel power of the background recordings, by split and name: float32 (frames, mel_bins) each."""
    parts: dict[str, Any] = {
        f"{split}/{name}": power for split, recordings in background.items() for name, power in recordings.items()
    }
    np.savez(folder / BACKGROUND_FILE, **parts)


def read_background_power(folder: Path, split: str) -> list[np.ndarray]:
    """Mel power of the parts of the background recordings that belong to a split: float32 (frames, mel_bins) each."""
    with np.load(folder / BACKGROUND_FILE) as parts:
        return [parts[name] for name in sorted(parts) if name.startswith(f"{split}/")]
