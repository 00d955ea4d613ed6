"""Measures peak memory and open files of every stage, by the number of clips and of background recordings.

    python benchmarks/memory.py                                  # everything: about an hour, 20 GB of disk
    python benchmarks/memory.py --case clips --clips 1000 10000
    python benchmarks/memory.py --case background --recordings 100
    python benchmarks/memory.py --case shards

It makes the recordings: tones in noise, so that it needs no network. Each stage runs as a process that may open 256
files. Its memory is the most that it and its children had at once, counted every 20 ms, or more where one of them had
more in between. Writes benchmarks/memory.csv, in which the rows of other cases stay; `make readme` puts them into
docs/larger-machines.md. On other systems than Linux, open files are not counted.
"""

import argparse
import csv
import io
import itertools
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runs import ROOT, peak_bytes

from kws.core.files import read_json, write_csv
from kws.core.params import load_params

CSV = ROOT / "benchmarks" / "memory.csv"
COLUMNS = ("case", "train_clips", "test_clips", "background_hours", "stage", "peak_mb", "open_files")
STAGES = ("download", "featurize", "train", "evaluate", "export", "project")
MOST_OPEN_FILES = 256
SAMPLED_EVERY = 0.02  # s
WORDS = ("bee", "dee", "fee", "gee")
OTHER_WORD = "pea"
CLIPS_A_SPEAKER = 20
SMALL = {  # a short pipeline that learns the tones, or its export would be refused
    "words": list(WORDS),
    "cut": "start",
    "clip_seconds": 0.2,
    "frame_length": 480,
    "hop_length": 320,
    "fft_length": 512,
    "mel_bins": 40,
    "unknown": 1.0,
    "silence": 1.0,
    "model": "tc_resnet",
    "width": 0.5,
    "learning_rate": 0.003,
    "schedule": "cosine",
    "warmup_epochs": 0,
    "noise_share": 0.2,
    "shift_ms": 50.0,
    "projection_clips": 100,
}


@dataclass(frozen=True)
class Used:
    """What a process and its children used at most: bytes of memory together, and open files of one of them."""

    memory: int
    open_files: int


def measured(command: Sequence[str | Path], folder: Path) -> Used:
    """Runs a command and says what it used.

    Raises:
        SystemExit: it failed.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(folder), "KWS_TRACKING": "off"}
    limits = (resource.RLIMIT_NOFILE, (MOST_OPEN_FILES, MOST_OPEN_FILES))
    memory = open_files = 0
    with (folder / "printed.txt").open("a") as printed:
        process = subprocess.Popen(  # noqa: S603 (the project's stages)
            command,
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=printed,
            preexec_fn=lambda: resource.setrlimit(*limits),  # noqa: PLW1509 (no threads here)
        )
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            seen = [_seen(number) for number in _family(process.pid)]
            memory = max(memory, sum(now for now, _, _ in seen), *(most for _, most, _ in seen))
            open_files = max(open_files, *(files for _, _, files in seen))
            time.sleep(SAMPLED_EVERY)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{(folder / 'printed.txt').read_text()[-2000:]}")
    return Used(memory or peak_bytes(usage), open_files)  # Linux counts the memory of who started a process as its own


def _family(process: int) -> Iterator[int]:
    """A process and all below it; on other systems than Linux, the process alone."""
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            for child in children.read_text().split():
                yield from _family(int(child))
        except OSError:  # it has just ended
            continue


def _seen(process: int) -> tuple[int, int, int]:
    """Bytes of memory that a process has, the most that it had, and its open files; zeros if it has ended."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        now, most = (1024 * int(status[name].split()[0]) for name in ("VmRSS", "VmHWM"))
        return now, most, len(list(Path(f"/proc/{process}/fd").iterdir()))
    except (OSError, KeyError):  # it has just ended, or this is no Linux
        return 0, 0, 0


def wav(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file of 16 bits; samples from -1 to 1."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes((32767 * samples).astype("<i2").tobytes())
    return file.getvalue()


def clips(split: str, number: int, seconds: float, rate: int) -> Iterator[tuple[str, bytes]]:
    """Recordings of a split that is given by its folder: each word is a tone of its own, in noise."""
    rng = np.random.default_rng(list(split.encode()))
    time_axis = np.arange(round(seconds * rate)) / rate
    for index, (word, other) in zip(range(number), itertools.cycle(enumerate((*WORDS, OTHER_WORD))), strict=False):
        tone = 0.3 * np.sin(2 * np.pi * (300 + 250 * word + 5 * rng.normal()) * time_axis)
        speaker = f"{split[:2]}{index // CLIPS_A_SPEAKER:06x}"
        yield (
            f"{split}/{other}/{speaker}_nohash_{index % CLIPS_A_SPEAKER}.wav",
            wav(tone + 0.02 * rng.normal(size=len(time_axis)).clip(-3, 3), rate),
        )


def background(number: int, seconds: int, rate: int) -> Iterator[tuple[str, bytes]]:
    """Background recordings: the same noise, from another place on in each."""
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.normal(size=seconds * rate).clip(-3, 3)
    for index in range(number):
        yield f"_background_noise_/{index:05d}.wav", wav(np.roll(noise, int(rng.integers(len(noise)))), rate)


def pipeline(case: str, archive: Callable[[], Iterator[tuple[str, bytes]]], **changes: Any) -> list[dict[str, Any]]:
    """Runs all stages on these recordings, and says what each of them used: rows of the table."""
    rows = []
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        folder = Path(name)
        packed = folder / "recordings.tar"
        with tarfile.open(packed, "w") as tar:
            for member, data in archive():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        values = load_params(ROOT / "params.yaml").model_dump() | SMALL | changes | {"dataset": str(packed)}
        (folder / "params.yaml").write_text(json.dumps(values))  # JSON is YAML
        for stage in STAGES:
            used = measured([sys.executable, ROOT / "stages" / f"{stage}.py"], folder)
            rows.append({"case": case, "stage": stage, "peak_mb": used.memory // 10**6, "open_files": used.open_files})
            print(f"  {stage}: {used.memory / 1e6:,.0f} MB, {used.open_files} open files", flush=True)
            if stage == "download":
                packed.unlink()  # there is a copy in data/raw
        counts = read_json(folder / "metrics" / "featurize.json")
    return [row | {"train_clips": counts["train"], "test_clips": counts["test"]} for row in rows]


def of_clips(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Two numbers of clips, for training and as many for the test."""
    for number in asked.clips:
        print(f"{number:,} clips")
        recorded = number * 5 // 6  # the others are silence
        sizes = {"train": recorded, "validation": max(recorded // 10, 100), "test": recorded}

        def archive(sizes: dict[str, int] = sizes) -> Iterator[tuple[str, bytes]]:
            for split, size in sizes.items():
                yield from clips(split, size, SMALL["clip_seconds"], 16_000)

        for row in pipeline(
            f"{number:,} clips for training, as many for the test", archive, epochs=max(3, 60_000 // number)
        ):
            yield row | {"background_hours": 0}


def of_background(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Many background recordings of ten minutes each, and few clips."""
    rate = 4000

    def archive() -> Iterator[tuple[str, bytes]]:
        for split in ("train", "validation", "test"):
            yield from clips(split, 500, SMALL["clip_seconds"], rate)
        yield from background(asked.recordings, 600, rate)

    front_end = {"sample_rate": rate, "frame_length": 120, "hop_length": 80, "fft_length": 128, "mel_bins": 20}
    hours = asked.recordings / 6
    print(f"{asked.recordings:,} background recordings of ten minutes")
    for row in pipeline(
        f"{asked.recordings:,} background recordings of ten minutes", archive, **front_end, mel_high_hz=2000.0
    ):
        yield row | {"background_hours": round(hours, 1)}


SHARDS = """
import sys
from pathlib import Path

import numpy as np

from kws.records.write import RecordWriter

clips, power = int(sys.argv[1]), np.zeros((2, 3), np.float32)
with RecordWriter(Path("shards"), {"train": clips}) as records:
    for number in range(clips):
        records.write("train", f"yes/{number}.wav", "ada", 0, power)
"""


def of_shards(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The writer of shards alone, with tiny clips."""
    print(f"{asked.shards:,} clips to shards")
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        (Path(folder) / "shards").mkdir()
        used = measured([sys.executable, "-c", SHARDS, str(asked.shards)], Path(folder))
    print(f"  {used.memory / 1e6:,.0f} MB, {used.open_files} open files")
    row = {"case": f"{asked.shards:,} tiny clips", "train_clips": asked.shards, "test_clips": 0, "background_hours": 0}
    yield row | {"stage": "shards alone", "peak_mb": used.memory // 10**6, "open_files": used.open_files}


CASES = {"clips": of_clips, "background": of_background, "shards": of_shards}


def scratch() -> Path:
    """Where the projects lie: beside the checkout's other unfinished work, since /tmp may be memory."""
    folder = ROOT / ".scratch" / "memory"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    """Measures the cases and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--case", choices=CASES, help="only this one")
    options.add_argument("--clips", type=int, nargs="+", default=[10_000, 100_000], help="clips for training")
    options.add_argument("--recordings", type=int, default=1000, help="background recordings of ten minutes")
    options.add_argument("--shards", type=int, default=1_500_000, help="clips that go into shards")
    asked = options.parse_args()
    rows: list[dict[str, Any]] = []
    for name in [asked.case] if asked.case else CASES:
        for row in CASES[name](asked):
            rows.append(row)
            write_table(rows)


def write_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the table; rows of the same cases are replaced, others stay before these."""
    cases = {row["case"] for row in rows}
    with CSV.open(newline="") if CSV.exists() else io.StringIO() as file:
        others = [row for row in csv.DictReader(file) if row["case"] not in cases]
    write_csv(CSV, [*others, *rows], COLUMNS)


if __name__ == "__main__":
    main()
