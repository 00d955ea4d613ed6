import gc
import importlib
import io
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from kws.core.arrays import StoredArrays, write_arrays

ARRAYS = {
    "train/a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "train/folder/ä.wav": np.arange(5, dtype=np.int64),
    "test/a": np.zeros((3, 0), np.float32),
}


@pytest.fixture
def stored(tmp_path) -> Path:
    with (tmp_path / "arrays.npz").open("wb") as file:
        write_arrays(file, ARRAYS.items())
    return tmp_path / "arrays.npz"


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def read(path: Path, prefix: str = "") -> StoredArrays:
    with path.open("rb") as file:
        return StoredArrays(file, prefix)


def test_the_file_has_the_bytes_of_numpy(stored):
    wanted = io.BytesIO()
    np.savez(wanted, **ARRAYS)
    assert stored.read_bytes() == wanted.getvalue()


def test_what_is_read_is_what_was_written_in_its_order(stored):
    arrays = read(stored)
    assert list(arrays) == list(ARRAYS)
    for name, wanted in ARRAYS.items():
        assert arrays[name].dtype == wanted.dtype
        np.testing.assert_array_equal(arrays[name], wanted)
    with pytest.raises(KeyError):
        arrays["validation/a"]
    with pytest.raises(ValueError, match="read-only"):
        arrays["train/a"][0] = 1


def test_names_below_a_prefix_come_without_it(stored):
    assert list(read(stored, "train/")) == ["a", "folder/ä.wav"]
    np.testing.assert_array_equal(read(stored, "train/")["a"], ARRAYS["train/a"])


def test_the_file_may_be_removed_and_is_gone_when_nothing_uses_it(stored):
    opened = open_files()
    arrays = read(stored)
    stored.unlink()
    np.testing.assert_array_equal(arrays["train/a"], ARRAYS["train/a"])
    del arrays
    gc.collect()
    assert open_files() == opened


READING = """
import sys
from kws.core.arrays import StoredArrays
with open("arrays.npz", "rb") as file:
    arrays = StoredArrays(file)
sums = [float(arrays[name].mean()) for name in arrays]
assert sums == list(range(4000))
"""


def test_thousands_of_arrays_take_neither_open_files_nor_memory(tmp_path, monkeypatch):
    """400 MB in 4,000 arrays, read through one file, in a process that has done nothing else."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    with (tmp_path / "arrays.npz").open("wb") as file:
        tracemalloc.start()
        write_arrays(file, ((str(number), np.full(25_000, number, np.float32)) for number in range(4000)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 8e6
    used = importlib.import_module("memory").measured([sys.executable, "-c", READING], tmp_path)
    assert used.memory < 200e6  # Python and NumPy take the most of it
    assert used.open_files < 20  # 0 on systems that do not count them
