"""Arrays in a file of NumPy's format npz: written one at a time, and read piece by piece."""

import mmap
import os
import weakref
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

import numpy as np


def write_arrays(file: BinaryIO, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes arrays with their names, with the bytes of `np.savez`. One array is in memory at a time."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of a file that `write_arrays` wrote, by name, in the order of the file; none can be written to.

    A look-up maps an array into memory. What is read of it takes memory, and is freed with the array. An array that is
    in use takes an open file: keep names rather than arrays where there may be many.

    Args:
        file: may be closed, or removed, afterwards.
        prefix: only names that begin with it count; they come without it.
    """

    def __init__(self, file: BinaryIO, prefix: str = "") -> None:
        self._places: dict[str, tuple[int, np.dtype, tuple[int, ...]]] = {}
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        for member in members:
            if member.filename.startswith(prefix):
                file.seek(member.header_offset + 26)  # in the member's header: the lengths of its name and extra field
                name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
                file.seek(name + extra, os.SEEK_CUR)
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                self._places[member.filename.removeprefix(prefix).removesuffix(".npy")] = file.tell(), dtype, shape
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def __getitem__(self, name: str) -> np.ndarray:
        place, dtype, shape = self._places[name]
        before = place % mmap.ALLOCATIONGRANULARITY
        size = before + dtype.itemsize * int(np.prod(shape))
        mapped = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ, offset=place - before)
        return np.ndarray(shape, dtype, mapped, before)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
