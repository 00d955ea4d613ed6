"""The benchmark of memory and open files measures what it says."""

import importlib
import io
import subprocess
import sys
import wave

import pytest
from conftest import ROOT


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("memory")


GREEDY = """
import subprocess, sys, time
files = [open("printed.txt") for _ in range(100)]
child = "import time; much = bytearray(200_000_000); time.sleep(1)"
mine = bytearray(100_000_000)
subprocess.run([sys.executable, "-c", child], check=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_is_that_of_a_process_and_its_children_together_and_open_files_are_counted(memory, tmp_path):
    mine = bytearray(500_000_000)  # the memory of who measures does not count
    used = memory.measured([sys.executable, "-c", GREEDY], tmp_path)
    assert len(mine) > used.memory
    assert 300e6 < used.memory < 400e6
    assert 100 < used.open_files < 115


def test_a_process_that_opens_too_many_files_fails_and_what_it_printed_is_told(memory, tmp_path):
    with pytest.raises(SystemExit, match="Too many open files"):
        memory.measured([sys.executable, "-c", "files = [open('printed.txt') for _ in range(260)]"], tmp_path)


def test_the_recordings_are_sounds_of_people_who_are_in_one_split(memory):
    names = {split: [name for name, _ in memory.clips(split, 50, 0.2, 8000)] for split in ("train", "test")}
    assert {name.split("/")[0] for name in names["test"]} == {"test"}
    people = {split: {name.split("/")[2].split("_nohash_")[0] for name in names[split]} for split in names}
    assert [len(of_split) for of_split in people.values()] == [3, 3]
    assert not people["train"] & people["test"]
    with wave.open(io.BytesIO(next(memory.clips("train", 1, 0.2, 8000))[1])) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8000, 1600)


def test_bytes_are_bytes_on_every_system(memory, monkeypatch):
    usage = subprocess.run([sys.executable, "-c", ""], check=True) and memory.resource.getrusage(-1)
    monkeypatch.setattr("sys.platform", "linux")
    on_linux = memory.peak_bytes(usage)
    monkeypatch.setattr("sys.platform", "darwin")
    assert on_linux == 1024 * memory.peak_bytes(usage)
