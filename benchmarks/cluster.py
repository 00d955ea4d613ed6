"""Featurizes few and many clips without Dask and on 1, 2 and 4 workers, and kills one; writes benchmarks/cluster.csv.

    python benchmarks/cluster.py --recordings mini_speech_commands.zip
    python benchmarks/cluster.py --case names --names 2000000

The clips are made of the recordings: each is faster or slower, and noisy, by an amount of its own. They are Opus in
plain tars, the parts. All that featurize writes is compared by SHA-256. Where this machine lets root make network
namespaces, scheduler and stage are in one, and each worker is in one of its own, as on a host of its own; elsewhere all
are processes at 127.0.0.1, and the table says so. They share the file system.

The overhead of Dask is measured on one core: all processes of the cluster together, scheduler and stage among them,
have the core that the stage alone has without Dask.

Case `names` measures the memory of download and featurize with few and with many names; the sounds repeat.
"""

import argparse
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
import soxr
import yaml
from memory import measured, wav
from runs import ROOT, preset

from kws.audio.decode import decode_recording
from kws.core.files import sha256_of, write_csv
from kws.core.params import load_params
from kws.recordings.archive import read_members

CSV = ROOT / "benchmarks" / "cluster.csv"
COLUMNS = (
    *("case", "clips", "hosts", "workers", "cores", "seconds"),
    *("cpu_seconds", "stage_cpu_seconds", "scheduler_cpu_seconds"),
    *("stage_mb", "worker_mb", "scheduler_mb", "features_mb", "same_bytes", "sha256"),
)
RATE = 16_000
SLOWEST, FASTEST = 0.85, 1.15
SNR_DB = (5.0, 30.0)
PORT = 8786
NETWORK = "10.77"  # within namespaces of our own


# The clips


def sources(path: Path) -> list[tuple[str, str, bytes]]:
    """Word, speaker and file of recordings: of an archive, or a folder of archives that have a word each.

    They are in a random order, so that the first few hundred have all words.
    """
    found = []
    for part in sorted(path.iterdir()) if path.is_dir() else [path]:
        for name, data in read_members(part):
            file = PurePosixPath(name)
            word = file.parent.name or part.stem
            if data and not word.startswith("_"):
                found.append((word, file.name.partition("_nohash_")[0], data))
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))]


def made_clip(number: int, recordings: Sequence[tuple[str, str, bytes]]) -> tuple[str, bytes]:
    """A clip and its name: a recording, faster or slower and noisy; each number gives another one."""
    word, speaker, data = recordings[number % len(recordings)]
    turn = number // len(recordings)
    rng = np.random.default_rng(number)
    samples = decode_recording(data, RATE, may_be_silent=True).samples[: 2 * RATE]
    changed = soxr.resample(samples, rng.uniform(SLOWEST, FASTEST) * RATE, RATE)[:RATE]
    level = np.sqrt(np.mean(np.square(changed)) + 1e-9) * 10 ** (-rng.uniform(*SNR_DB) / 20)
    noisy = (changed + level * rng.standard_normal(len(changed))).clip(-1, 1)
    somebody = hashlib.sha256(f"{speaker} {turn}".encode()).hexdigest()[:8]
    return f"{word}/{somebody}_nohash_{number}.opus", opus(noisy)


def opus(samples: np.ndarray) -> bytes:
    """A file of Ogg with Opus, encoded by FFmpeg: it takes a tenth of the time of libsndfile's best quality."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono", options={"compression_level": "5"})
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()


def write_part(numbers: range, target: Path, recordings: Path) -> None:
    """Writes a part: a plain tar of these clips."""
    known = _known(recordings)
    with tarfile.open(target, "w") as tar:
        for number in numbers:
            name, data = made_clip(number, known)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


_read: dict[Path, list[tuple[str, str, bytes]]] = {}


def _known(recordings: Path) -> list[tuple[str, str, bytes]]:
    if recordings not in _read:
        _read[recordings] = sources(recordings)
    return _read[recordings]


def make_parts(folder: Path, clips: int, parts: int, recordings: Path) -> None:
    """Writes all parts, on all cores."""
    folder.mkdir()
    size = -(-clips // parts)
    pieces = [range(first, min(clips, first + size)) for first in range(0, clips, size)]
    targets = [folder / f"part-{number:04d}.tar" for number in range(len(pieces))]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(write_part, recordings=recordings), pieces, targets))


# The hosts


@dataclass
class Host:
    """Where processes run: a network namespace, or this machine."""

    address: str
    namespace: str = ""

    def command(self, *command: str | Path) -> list[str]:
        """The command that runs a command there."""
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return [*inside, *map(str, command)]


@dataclass
class Hosts:
    """The host of scheduler and stage, those of the workers, and at which address each worker finds the scheduler."""

    kind: str
    head: Host
    workers: list[Host] = field(default_factory=list)
    schedulers: list[str] = field(default_factory=list)


@contextmanager
def hosts(number: int) -> Iterator[Hosts]:
    """Network namespaces, each with a link to that of the scheduler; where that is refused, this machine alone."""
    own = f"kws{os.getpid()}"
    head = f"{own}h"
    with ExitStack() as stack:
        try:
            _ip("netns", "add", head)
        except (OSError, subprocess.CalledProcessError):
            local = Host("127.0.0.1")
            yield Hosts("processes", local, [local] * number, ["127.0.0.1"] * number)
            return
        stack.callback(_ip, "netns", "del", head)
        _ip("-n", head, "link", "set", "lo", "up")
        found = Hosts("network namespaces", Host("127.0.0.1", head))
        for worker in range(number):
            space, here, there = (
                f"{own}w{worker}",
                f"kh{os.getpid() % 10**6}{worker}",
                f"kw{os.getpid() % 10**6}{worker}",
            )
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            _ip("link", "add", here, "netns", head, "type", "veth", "peer", "name", there, "netns", space)
            for name, device, last in ((head, here, 1), (space, there, 2)):
                _ip("-n", name, "address", "add", f"{NETWORK}.{worker}.{last}/30", "dev", device)
                _ip("-n", name, "link", "set", device, "up")
                _ip("-n", name, "link", "set", "lo", "up")
            found.workers.append(Host(f"{NETWORK}.{worker}.2", space))
            found.schedulers.append(f"{NETWORK}.{worker}.1")
        yield found


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S603, S607 (the system's own)


# The runs


def run(project: Path, workers: int, *, cores: int, kill: bool = False) -> dict[str, Any]:
    """Featurizes once, and says what it took: a row of the table. Scheduler and workers are there when it begins.

    Args:
        project: the folder with data/raw.
        workers: how many; 0: without Dask.
        cores: that all processes together may use.
        kill: whether a worker is killed when half of the shards are there.
    """
    shutil.rmtree(project / "data" / "features", ignore_errors=True)
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(project), "KWS_TRACKING": "off"}
    environment |= {"DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "0"}  # as docs/cluster.md has it
    with hosts(workers) as where, ExitStack() as stack, (project / "printed.txt").open("a") as log:
        keep_to = partial(os.sched_setaffinity, 0, allowed)
        start = partial(subprocess.Popen, cwd=project, env=environment, stdout=log, stderr=log, preexec_fn=keep_to)
        cluster = start_cluster(project, where, start) if workers else []
        stack.callback(lambda: [process.kill() or process.wait() for process in cluster])
        if workers:
            environment["KWS_CLUSTER"] = f"tcp://127.0.0.1:{PORT}"
            client = f"Client('{environment['KWS_CLUSTER']}')"
            wait = f"from distributed import Client; {client}.wait_for_workers({workers}, 300)"
            if start(where.head.command(sys.executable, "-c", wait)).wait():
                sys.exit(f"the workers did not come:\n{(project / 'printed.txt').read_text()[-3000:]}")
        stage = start(where.head.command(sys.executable, ROOT / "stages" / "featurize.py"))
        seen = watch(project, stage, cluster, kill=kill)
    features = (project / "data" / "features").iterdir()
    return {
        "hosts": where.kind if workers else "",
        "workers": workers,
        "cores": len(allowed),
        **seen,
        "features_mb": sum(path.stat().st_size for path in features) // 10**6,
        "sha256": digest(project),
    }


def start_cluster(
    project: Path, where: Hosts, start: Callable[[list[str]], subprocess.Popen[bytes]]
) -> list[subprocess.Popen[bytes]]:
    """Starts a scheduler, and a worker on each host: these processes, in this order."""
    program = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    listen = "" if where.head.namespace else "127.0.0.1"
    started = [start(where.head.command(*program, "--host", f"tcp://{listen}:{PORT}"))]
    for host, scheduler in zip(where.workers, where.schedulers, strict=True):
        program = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://{scheduler}:{PORT}"]
        program += ["--host", host.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        started.append(start(host.command(*program, "--local-directory", project / "dask")))
    return started


def watch(
    project: Path, stage: subprocess.Popen[bytes], cluster: Sequence[subprocess.Popen[bytes]], *, kill: bool
) -> dict[str, Any]:
    """Waits for the end of the stage, and says what it and the cluster took; may kill the last worker on the way."""
    since, begun = time.perf_counter(), [_cpu_seconds(process.pid) for process in cluster]
    killed = False
    peak, peaks, used = 0, [0] * len(cluster), [0.0] * len(cluster)
    while not (ended := os.wait4(stage.pid, os.WNOHANG))[0]:
        peak = max(peak, _peak_bytes(stage.pid))
        for number, process in enumerate(cluster):
            if process.poll() is None:
                peaks[number] = max(peaks[number], _peak_bytes(process.pid))
                used[number] = _cpu_seconds(process.pid) - begun[number]
        if kill and not killed and _half_done(project):
            cluster[-1].kill()
            killed = True
        time.sleep(0.2)
    seconds = time.perf_counter() - since
    _, status, usage = ended
    stage.returncode = os.waitstatus_to_exitcode(status)
    if stage.returncode or kill != killed:
        sys.exit(f"featurize failed, or nobody was killed:\n{(project / 'printed.txt').read_text()[-3000:]}")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime + sum(used), 1),
        "stage_cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "scheduler_cpu_seconds": round(used[0], 1) if used else 0,
        "stage_mb": peak // 10**6,
        "worker_mb": max(peaks[1:], default=0) // 10**6,
        "scheduler_mb": peaks[0] // 10**6 if peaks else 0,
    }


def digest(project: Path) -> str:
    """SHA-256 over the names and contents of all that featurize writes."""
    total = hashlib.sha256()
    files = sorted(path for name in ("data/features", "metrics", "plots") for path in (project / name).rglob("*"))
    for path in files:
        if path.is_file() and path.name != "download.json":
            total.update(f"{path.relative_to(project)} {sha256_of(path)}\n".encode())
    return total.hexdigest()


def _half_done(project: Path) -> bool:
    there = list((project / "data" / ".partial-features").glob("train-*.tfrecord"))
    return bool(there) and len(there) >= int(there[0].stem.rpartition("-")[2]) / 2


def _peak_bytes(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):  # it has just ended
        return 0


def _cpu_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_clips(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each number of clips without Dask, on so many workers, and with one that is killed."""
    cores = len(os.sched_getaffinity(0))
    cases = [("without Dask", 0, used, False) for used in sorted({1, cores})]
    cases += [("Dask", workers, 1 if workers == 1 else cores, False) for workers in asked.workers]
    cases += [("Dask, a worker killed in the middle", 2, cores, True)]
    words = sorted({word for word, _, _ in _known(asked.recordings.absolute())})
    for clips in asked.clips:
        with tempfile.TemporaryDirectory(dir=scratch()) as name:
            project = Path(name)
            since = time.perf_counter()
            make_parts(project / "mine", clips, asked.parts, asked.recordings.absolute())
            print(f"{clips:,} clips in {asked.parts} parts: made in {time.perf_counter() - since:.0f} s", flush=True)
            write_project(project, words, dataset="mine", **preset("fast"))
            measured([sys.executable, ROOT / "stages" / "download.py"], project)
            shutil.rmtree(project / "mine")  # there is a copy in data/raw
            first = ""
            for case, workers, used, kill in cases:
                row = {"case": case, "clips": clips} | run(project, workers, cores=used, kill=kill)
                first = first or row["sha256"]
                row["same_bytes"] = "yes" if row["sha256"] == first else "NO"
                print("  " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                yield row


def of_names(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The memory of download and featurize, with a tenth of the names, and with all: sounds of 50 ms that repeat."""
    settings = {"clip_seconds": 0.1, "sample_rate": 4000, "frame_length": 64, "hop_length": 64, "fft_length": 64}
    settings |= {"mel_bins": 4, "mel_high_hz": 2000.0, "cut": "start"}
    words = [f"w{number:03d}" for number in range(100)]
    rng = np.random.default_rng(0)
    sounds = [wav(0.1 * rng.normal(size=200).clip(-3, 3), 4000) for _ in range(1000)]
    for names in (asked.names // 10, asked.names):
        with tempfile.TemporaryDirectory(dir=scratch()) as folder:
            project = Path(folder)
            with tarfile.open(project / "mine.tar", "w") as tar:
                for number in range(names):
                    info = tarfile.TarInfo(
                        f"{words[number % 100]}/{number // 300:08x}_nohash_{number % 300 // 100}.wav"
                    )
                    # a sound of its own by its last bytes, or all would be copies of each other
                    data = sounds[number % 1000][:-4] + number.to_bytes(4, "little")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            write_project(project, words, dataset="mine.tar", **settings)
            for stage, cluster in (("download", ""), ("featurize", ""), ("featurize", "local:1")):
                os.environ["KWS_CLUSTER"] = cluster
                since = time.perf_counter()
                used = measured([sys.executable, ROOT / "stages" / f"{stage}.py"], project)
                (project / "mine.tar").unlink(missing_ok=True)
                row = {"case": f"names: {stage}{' on Dask, all processes' if cluster else ''}", "clips": names}
                row |= {"seconds": round(time.perf_counter() - since, 1), "stage_mb": used.memory // 10**6}
                print("  " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                yield row
            os.environ.pop("KWS_CLUSTER")


def write_project(project: Path, words: Sequence[str], **changes: Any) -> None:
    """Writes the parameters."""
    values = load_params(ROOT / "params.yaml").model_dump(mode="json") | {"words": list(words)} | changes
    (project / "params.yaml").write_text(yaml.safe_dump(values))


CASES = {"clips": of_clips, "names": of_names}


def scratch() -> Path:
    """Where the projects lie."""
    folder = ROOT / ".scratch" / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    """Measures the cases and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--case", choices=CASES, default="clips")
    options.add_argument("--recordings", type=Path, help="an archive of recordings, or a folder with one for each word")
    options.add_argument("--clips", type=int, nargs="+", default=[2000, 200_000])
    options.add_argument("--parts", type=int, default=20)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--names", type=int, default=2_000_000)
    asked = options.parse_args()
    if asked.case == "clips" and not (asked.recordings and asked.recordings.exists()):
        sys.exit("error: --recordings names an archive of recordings, or a folder with one for each word")
    rows: list[dict[str, Any]] = []
    for row in CASES[asked.case](asked):
        rows.append(row)
        write_table(rows)


def write_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the table; rows of the same kind of case with as many clips are replaced, others stay before these."""

    def kind(row: Mapping[str, Any]) -> tuple[bool, int]:
        return row["case"].startswith("names"), int(row["clips"])

    with CSV.open(newline="") if CSV.exists() else io.StringIO() as file:
        others = [row for row in csv.DictReader(file) if kind(row) not in {kind(new) for new in rows}]
    write_csv(CSV, [*others, *rows], COLUMNS)


if __name__ == "__main__":
    main()
