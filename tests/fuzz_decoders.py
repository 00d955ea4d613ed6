"""Damages small recordings of each format at random, and decodes them in processes that may die.

    python tests/fuzz_decoders.py [--number 2000] [--first 0] [--formats wav,m4a]

A damaged file is decoded, or it is unusable for a reason. Anything else is a bug: another exception, a crash, more than
SECONDS or MEGABYTES. Prints a line of JSON for each format, and the number of each file that shows a bug: the same
number gives the same file (--keep FOLDER writes it). Exit code 1 if there is a bug.
"""

import argparse
import io
import json
import multiprocessing
import os
import re
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from encode import OF_FFMPEG, OF_LIBSNDFILE, sound_file

SECONDS = 10
MEGABYTES = 1000
FORMATS = ("wav", "wave.wav", "flac", "ogg", "opus", "mp3", "m4a", "webm", "amr")  # --formats takes others, too
KINDS = (*OF_LIBSNDFILE, *OF_FFMPEG)
STEREO = ("wave.wav", "m4a")
OGG = ("ogg", "oga", "opus")
HEADER_BYTES = 200  # half of the changes are in them
SIZES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def originals() -> dict[str, bytes]:
    """A file of a quarter of a second in each format."""
    files = {}
    for name in KINDS:
        rate, channels = (
            (8000, 1) if "amr" in name else (48_000, 1) if name == "ac3" else (16_000, 1 + (name in STEREO))
        )
        sound = np.random.default_rng(0).normal(scale=0.1, size=(rate // 4, channels)).clip(-1, 1)
        data = bytearray(sound_file(name, sound, rate))
        for start, _ in _pages(data) if name in OGG else ():
            data[start + 14 : start + 18] = bytes(4)  # the stream's number, which is random
            _mend_checksums(data)
        files[name] = bytes(data)
    return files


def damaged(files: dict[str, bytes], name: str, number: int) -> bytes:
    """A file with a few changes; the same number gives the same bytes."""
    rng = np.random.default_rng([KINDS.index(name), number])
    data = bytearray(files[name])
    for _ in range(rng.geometric(0.5)):
        if not data:
            break
        place = int(rng.integers(min(len(data), HEADER_BYTES) if rng.uniform() < 0.5 else len(data)))
        length = int(2 ** rng.uniform(0, 10))
        kind = rng.integers(8)
        if kind == 0:
            data[place] ^= 1 << rng.integers(8)
        elif kind == 1:
            data[place : place + length] = rng.bytes(length)
        elif kind == 2:
            del data[place:]
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = data[place : place + length]
        elif kind == 5:
            other = files[KINDS[rng.integers(len(KINDS))]]
            start = int(rng.integers(len(other)))
            data[place : place + length] = other[start : start + length]
        else:
            size = SIZES[rng.integers(len(SIZES))] if rng.uniform() < 0.7 else int(rng.integers(2**32))
            data[place : place + 4] = struct.pack("<I" if rng.uniform() < 0.5 else ">I", size)
    if name in OGG and rng.uniform() < 0.5:
        _mend_checksums(data)  # or hardly any damage would get past the container
    return bytes(data)


def _pages(data: bytearray) -> Iterator[tuple[int, int]]:
    starts = [place for place in range(len(data) - 27) if data[place : place + 4] == b"OggS"]
    yield from pairwise([*starts, len(data)])


def _mend_checksums(data: bytearray) -> None:
    """The checksum of each Ogg page: CRC-32 with the polynomial 0x04C11DB7, highest bit first."""
    for start, end in _pages(data):
        data[start + 22 : start + 26] = bytes(4)
        checksum = 0
        for byte in data[start:end]:
            checksum = (checksum << 8 & 0xFFFFFFFF) ^ _CRC[checksum >> 24 ^ byte]
        data[start + 22 : start + 26] = struct.pack("<I", checksum)


def _crc_table() -> Iterator[int]:
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if value >> 31 else 0)
        yield value


_CRC = list(_crc_table())


def outcome(data: bytes) -> str:
    """`decoded`, or the reason, or `bug: ...`; both by `decode_recording` and by `read_blocks`."""
    from kws.audio.decode import UnusableClipError, decode_recording, read_blocks

    result = ""
    for decode in (lambda: decode_recording(data, 16_000), lambda: list(read_blocks(io.BytesIO(data), 16_000))):
        try:
            decode()
            result = result or "decoded"
        except UnusableClipError as reason:
            result = result or re.sub(r"\d+", "N", str(reason).partition(": ")[0])
        except Exception as error:  # noqa: BLE001 (which is what is looked for)
            return f"bug: {type(error).__name__}: {error}"
    return result


def work(pipe: Connection, name: str, first: int, step: int) -> None:
    """A process: tells (number, outcome, seconds, megabytes) of one file after the other, until it is killed."""
    # what a broken decoder prints would fill the terminal
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    files, number = originals(), first
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))  # spares the machine
    outcome(files[name])  # loads the decoders
    base = _megabytes()
    while True:
        started = time.perf_counter()
        result = outcome(damaged(files, name, number))
        pipe.send((number, result, time.perf_counter() - started, _megabytes() - base))
        number += step


def _megabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def watch(name: str, first: int, step: int, end: int, tell: Callable[[int, str, float], None]) -> None:
    """Runs a process on every `step`th file; starts another one where it dies or hangs."""
    context = multiprocessing.get_context("spawn")
    while first < end:
        pipe, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, name, first, step), daemon=True)
        process.start()
        theirs.close()
        patience = 60.0  # until it has started
        while first < end:
            result, seconds, grown = "", 0.0, 0.0
            try:
                if pipe.poll(patience):
                    _, result, seconds, grown = pipe.recv()
                else:
                    result = f"bug: longer than {SECONDS} s"
            except EOFError:
                process.join()
                result = f"bug: crash, exit code {process.exitcode}"
            if grown > MEGABYTES:
                result = f"bug: {grown:.0f} MB"
            tell(first, result, seconds)
            first += step
            patience = SECONDS
            if result.startswith("bug"):
                break
        process.kill()
        process.join()


def fuzz(name: str, first: int, number: int, keep: Path | None) -> dict[str, object]:
    """Decodes so many damaged files of a format; returns counts and times."""
    counts: Counter[str] = Counter()
    slowest, files = 0.0, originals()

    def tell(number: int, result: str, seconds: float) -> None:
        nonlocal slowest
        counts[result] += 1
        slowest = max(slowest, seconds)
        if result.startswith("bug"):
            print(f"{name} {number}: {result}", flush=True)
            if keep:
                (keep / f"{number}.{name}").write_bytes(damaged(files, name, number))

    cores, started = os.cpu_count() or 1, time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        for job in [pool.submit(watch, name, first + core, cores, first + number, tell) for core in range(cores)]:
            job.result()
    seconds = time.perf_counter() - started
    reasons = {result: count for result, count in counts.most_common() if not result.startswith("bug")}
    bugs = sum(counts.values()) - sum(reasons.values())
    return {
        "format": name,
        "files": sum(counts.values()),
        "bugs": bugs,
        "decoded": reasons.pop("decoded", 0),
        "set aside": reasons,
        "files a second": round(number / seconds),
        "slowest file, in seconds": round(slowest, 2),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=2000, help="of files in each format")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--formats", default=",".join(FORMATS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--keep", type=Path, help="a folder for the files that show a bug")
    options = parser.parse_args()
    bugs = 0
    for name in options.formats.split(","):
        result = fuzz(name, options.first, options.number, options.keep)
        print(json.dumps(result), flush=True)
        bugs += result["bugs"]
    return 1 if bugs else 0


if __name__ == "__main__":
    sys.exit(main())
