"""A few hundred damaged files. Many more: python tests/fuzz_decoders.py --number 100000."""

import json
import os
import re
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import fuzz_decoders
from encode import sound_file, tone

SCRIPT = Path(fuzz_decoders.__file__)


def test_damaged_files_are_decoded_or_unusable_and_no_decoder_crashes():
    command = [sys.executable, SCRIPT, "--number", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["format"] for result in results] == list(fuzz_decoders.FORMATS)
    for result in results:
        assert result["files"] == 60
        assert result["bugs"] == 0
        assert result["decoded"] + sum(result["set aside"].values()) == 60
        assert 0 < result["decoded"] < 60  # neither is the damage too slight, nor too heavy


def test_the_same_number_gives_the_same_damage():
    files = fuzz_decoders.originals()
    again = fuzz_decoders.originals()
    for name in fuzz_decoders.FORMATS:
        assert fuzz_decoders.outcome(files[name]) == "decoded"
        damaged = [fuzz_decoders.damaged(files, name, number) for number in range(20)]
        assert damaged == [fuzz_decoders.damaged(again, name, number) for number in range(20)]
        assert len({*damaged, files[name]}) > 15


def test_a_mended_checksum_is_that_of_an_ogg_file():
    for name in fuzz_decoders.OGG:
        file = sound_file(name, tone(16_000, 0.25), 16_000)
        mended = bytearray(file)
        for place in [place for place in range(len(file)) if file[place : place + 4] == b"OggS"]:
            mended[place + 22 : place + 26] = b"abcd"
        fuzz_decoders._mend_checksums(mended)
        assert mended == file


def broken_outcome(data: bytes) -> str:
    if len(data) == 1:
        os.abort()
    if len(data) == 2:
        time.sleep(100)
    if len(data) == 3:
        bytes(range(256)) * 2**20
    return "bug: ValueError: x" if len(data) == 4 else "decoded"


def broken_work(pipe: Connection, name: str, first: int, step: int) -> None:
    fuzz_decoders.outcome = broken_outcome
    fuzz_decoders.originals = lambda: {name: b""}
    fuzz_decoders.damaged = lambda _files, _name, number: bytes(number)
    fuzz_decoders.work(pipe, name, first, step)


def run_broken(folder: str) -> None:
    fuzz_decoders.SECONDS, fuzz_decoders.MEGABYTES, fuzz_decoders.work = 2, 200, broken_work
    print(json.dumps(fuzz_decoders.fuzz("amr", 0, 6, Path(folder))))


def test_a_crash_a_hang_an_error_and_much_memory_are_bugs(tmp_path):
    # a process of its own: what this one has in memory would count as that of its children
    program = f"import test_fuzz_decoders; test_fuzz_decoders.run_broken({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=SCRIPT.parent, capture_output=True, text=True, check=True
    )
    *lines, last = done.stdout.splitlines()
    result = json.loads(last)
    assert (result["files"], result["bugs"], result["decoded"]) == (6, 4, 2)
    told = dict(line.split(": bug: ") for line in lines)
    assert re.fullmatch(r"2\d\d MB", told.pop("amr 3"))
    assert told == {"amr 1": "crash, exit code -6", "amr 2": "longer than 2 s", "amr 4": "ValueError: x"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{number}.amr" for number in (1, 2, 3, 4)}
