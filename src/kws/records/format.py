"""The format of TFRecords of `tf.train.Example`, both ways, without TensorFlow.

TensorFlow's import costs as much as thousands of clips. https://www.tensorflow.org/tutorials/load_data/tfrecord has the
format of a record, https://protobuf.dev/programming-guides/encoding that of an Example.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import google_crc32c

from kws.core.errors import UserError

_TEXTS, _NUMBERS = 1, 3  # the fields of a tf.train.Feature: bytes_list, int64_list
_VARINT, _LENGTH = 0, 2  # the wire types of a protocol buffer that are used: a whole number, and counted bytes


def serialize(features: Mapping[str, bytes | int]) -> bytes:
    """A `tf.train.Example` of texts and whole numbers from 0; the same features give the same bytes."""
    entries = []
    for name, value in sorted(features.items()):
        if isinstance(value, bytes):
            values = _field(_TEXTS, _field(1, value))
        else:
            values = _field(_NUMBERS, _field(1, _varint(value)))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, values)))
    return _field(1, b"".join(entries))


def parse(example: bytes) -> dict[str, bytes | int]:
    """The features that `serialize` was given.

    Raises:
        ValueError: it is no `tf.train.Example` in which each feature is one text or one whole number.
    """
    parsed: dict[str, bytes | int] = {}
    [features] = _fields(memoryview(example), 1)
    for entry in _fields(features, 1):
        [name], [feature] = _fields(entry, 1), _fields(entry, 2)
        texts, numbers = _fields(feature, _TEXTS), _fields(feature, _NUMBERS)
        if texts:
            [value] = _fields(texts[0], 1)
            parsed[bytes(name).decode()] = bytes(value)
        else:
            [value] = _fields(numbers[0], 1)
            parsed[bytes(name).decode()], _ = _read_varint(value, 0)
    return parsed


def framed(example: bytes) -> bytes:
    """A record: the length of an Example and its checksum, the Example and its checksum."""
    length = struct.pack("<Q", len(example))
    return length + _checksum(length) + example + _checksum(example)


def read_records(path: Path) -> Iterator[bytes]:
    """The Examples of a file, one at a time.

    Raises:
        UserError: the file is cut off or damaged.
    """
    with path.open("rb") as file:
        while head := file.read(12):
            length = head[:8]
            if head[8:] == _checksum(length):
                [size] = struct.unpack("<Q", length)
                example, checksum = file.read(size), file.read(4)
                if checksum == _checksum(example):
                    yield example
                    continue
            raise UserError(damaged(path))


def damaged(path: Path) -> str:
    """What to do about a file of records that is cut off or damaged."""
    return f"{path} is damaged: run dvc repro --force --single-item featurize, which makes it again"


def count_records(path: Path) -> int:
    """The number of Examples in a file, which are not read.

    Raises:
        UserError: the file is cut off.
    """
    records = 0
    with path.open("rb") as file:
        while head := file.read(12):
            length = head[:8]
            if head[8:] != _checksum(length):
                raise UserError(damaged(path))
            [size] = struct.unpack("<Q", length)
            file.seek(size + 4, 1)
            records += 1
        if file.tell() != path.stat().st_size:
            raise UserError(damaged(path))
    return records


def _fields(message: memoryview, number: int) -> list[memoryview]:
    """The values of a field: its bytes, or the bytes of its varint."""
    found, place = [], 0
    while place < len(message):
        key, place = _read_varint(message, place)
        if key & 7 == _LENGTH:
            length, place = _read_varint(message, place)
            end = place + length
        elif key & 7 == _VARINT:
            _, end = _read_varint(message, place)
        else:
            raise ValueError(f"a field of wire type {key & 7}")
        if key >> 3 == number:
            found.append(message[place:end])
        place = end
    return found


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes, a text or a message."""
    return bytes([number << 3 | _LENGTH]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """A whole number in groups of seven bits, the lowest first."""
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _read_varint(message: memoryview, place: int) -> tuple[int, int]:
    """The whole number that starts at a place, and the place behind it."""
    value = shift = 0
    while True:
        group = message[place]
        value |= (group & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if group < 0x80:
            return value, place


def _checksum(data: bytes) -> bytes:
    """The masked CRC-32C of TFRecords."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
