"""TFRecords of `tf.train.Example`, written without TensorFlow, whose import costs as much as thousands of clips.

https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details has the format of a record, and
https://protobuf.dev/programming-guides/encoding that of an Example.

Each record: `mel_power` (bytes: float32, little endian, margin + frames + margin times mel_bins), `label` (int64: index
into the spec's words), `name` and `speaker` (bytes). Which shard a clip is in follows from its name and the number of
shards. Mel power of the background recordings stands beside them, in `background.npz`.
"""

import struct
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import google_crc32c
import numpy as np

CLIPS_A_SHARD = 1024
BACKGROUND_FILE = "background.npz"


class RecordWriter:
    """Writes clips into the shards of their splits; a context manager.

    Args:
        folder: where the shards go.
        expected: clips to come in each split; sets the number of shards.
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
        length = struct.pack("<Q", len(example))
        shard = zlib.crc32(name.encode()) % self._shards[split]
        self._files[f"{split}-{shard}"].write(length + _checksum(length) + example + _checksum(example))


def serialize(features: Mapping[str, bytes | int]) -> bytes:
    """A `tf.train.Example` of texts and whole numbers from 0; the same features give the same bytes."""
    entries = []
    for name, value in sorted(features.items()):
        values = _field(1, _field(1, value)) if isinstance(value, bytes) else _field(3, _field(1, _varint(value)))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, values)))
    return _field(1, b"".join(entries))


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes, a text or a message."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """A whole number in groups of seven bits, the lowest first."""
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C of TFRecords."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write_background_power(folder: Path, background: dict[str, dict[str, np.ndarray]]) -> None:
    """Writes the Mel power of the background recordings, by split and name: float32 (frames, mel_bins) each."""
    parts: dict[str, Any] = {
        f"{split}/{name}": power for split, recordings in background.items() for name, power in recordings.items()
    }
    np.savez(folder / BACKGROUND_FILE, **parts)


def read_background_power(folder: Path, split: str) -> list[np.ndarray]:
    """Mel power of the parts of the background recordings that a split may hear: float32 (frames, mel_bins) each."""
    with np.load(folder / BACKGROUND_FILE) as parts:
        return [parts[name] for name in sorted(parts) if name.startswith(f"{split}/")]
