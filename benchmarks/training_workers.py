"""Trains with two workers, and compares them with one machine: docs/training-workers.md.

    python benchmarks/training_workers.py                        # from the publisher's address: 2.4 GB
    python benchmarks/training_workers.py --mirror file:///data  # from an archive in a folder
    python benchmarks/training_workers.py --tiny                 # computed voices, a few minutes: only to try it

Preset fast on the words *ten*. The workers have folders of their own: worker 1 has its own shards alone. They run in
two network namespaces, as on two machines, where this is root on Linux with `ip`; else they are two processes, whose
servers listen on all addresses of this machine. Three seeds, if --seeds names no others. With seed 1, each of the
workers is killed in the middle of a training, in its third epoch, and both start again.

Writes benchmarks/training_workers.csv anew when all trainings are done, a row for each; with --tiny, it only prints the
rows. A row has the accuracy on the test clips with its interval, the difference from one machine with its paired
interval, the SHA-256 of the last weights as each worker tells it, that of the network that was kept, and what the
worker that was left has said.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs import (
    SEEDS,
    TEN,
    add_row,
    command_of,
    downloaded,
    environment_of,
    parser,
    preset,
    run,
    stage,
    ten,
    write_params,
)

from kws.core.errors import UserError
from kws.core.files import read_json, sha256_of
from kws.evaluate.metrics import rounded
from kws.evaluate.pairing import Answered, paired_test, read_answered
from kws.records.write import BACKGROUND_FILE

TABLE = Path(__file__).with_suffix(".csv")
PORT = 12345
KILLED_IN = 3  # the epoch in which a worker is killed
TINY = {
    **preset("fast"),
    "dataset": "synthetic",
    "words": list(TEN),
    "synthetic_speakers": 160,
    "model": "ds_cnn",
    "width": 0.25,
    "epochs": 24,  # with few, the statistics of the batch normalisation lag behind
    "warmup_epochs": 0,
    "batch_size": 32,
    "learning_rate": 0.01,
    "weight_averaging": 0.5,
    **dict.fromkeys(("shift_ms", "speed", "frequency_warp", "noise_share", "gain_db"), 0.0),
    **dict.fromkeys(("time_masks", "frequency_masks"), 0),
    "stream_minutes": 1,
}
PRINTED = "printed.txt"  # by a worker, in its folder
KEY = ("case", "seed")
COLUMNS = (
    *KEY,
    *("data", "workers", "hosts", "train_clips", "epochs", "validation_accuracy", "test_clips"),
    *("accuracy", "accuracy_low", "accuracy_high", "difference", "difference_low", "difference_high"),
    *("weights_0", "weights_1", "network", "left_said"),
)


@dataclass(frozen=True)
class Host:
    """Where a worker runs: what its command begins with, and its address."""

    prefix: tuple[str, ...]
    address: str


@dataclass(frozen=True)
class Ended:
    """How a worker ended: its exit code, and what it printed."""

    code: int
    lines: list[str]

    @property
    def weights(self) -> str:
        """The beginning of the SHA-256 of its last weights; empty: it did not come so far."""
        found = [re.search(r"ended with the weights (\w+)", line) for line in self.lines]
        return next((match[1] for match in found if match), "")


def main() -> None:
    """Trains alone, with two workers, and with two workers of which one is killed."""
    options = parser(__doc__)
    options.add_argument("--tiny", action="store_true", help="computed voices and a small network")
    options.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="the workers of seed 1 are killed, too")
    asked = options.parse_args()
    changes = TINY if asked.tiny else {**preset("fast"), **ten(asked.mirror)}
    data = "Computed voices, with --tiny" if asked.tiny else "Speech Commands, words *ten*"
    with downloaded(changes) as project, tempfile.TemporaryDirectory() as folder, two_hosts() as (kind, hosts):
        table = Path(folder) / TABLE.name
        for seed in asked.seeds:
            choice = {**changes, "seed": seed}
            run(project, choice)
            alone = read_answered(project / "data" / "answers.npz")
            add_row(table, {"data": data} | row("one machine", seed, project, alone), COLUMNS, KEY)
            workers = [project, other_project(project, Path(folder) / str(seed), choice)]
            undisturbed = train_to_the_end(workers, hosts)
            stage("evaluate", project, choice)
            add_row(
                table, {"data": data} | row("two workers", seed, project, alone, undisturbed, hosts=kind), COLUMNS, KEY
            )
            for killed in (0, 1) if seed == SEEDS[0] else ():
                said = train_until_killed(workers, hosts, killed)
                ended = train_to_the_end(workers, hosts)
                case = f"two workers, worker {killed} killed and back"
                stage("evaluate", project, choice)
                add_row(
                    table, {"data": data} | row(case, seed, project, alone, ended, hosts=kind, said=said), COLUMNS, KEY
                )
        print(table.read_text())
        if not asked.tiny:
            shutil.copy(table, TABLE)


def other_project(project: Path, folder: Path, changes: Mapping[str, Any]) -> Path:
    """The folder of worker 1: parameters, and of the features what it needs."""
    features = folder / "data" / "features"
    features.mkdir(parents=True)
    for path in (project / "data" / "features").iterdir():
        shard = re.fullmatch(r"(?:train|validation)-(\d+)-of-\d+\.tfrecord", path.name)
        if path.name in ("spec.json", "manifest.csv", BACKGROUND_FILE) or (shard and int(shard[1]) % 2 == 1):
            shutil.copy(path, features)
    write_params(folder, changes)
    return folder


def train_until_killed(workers: list[Path], hosts: list[Host], killed: int) -> str:
    """Runs stage train on both hosts, kills one of them in the middle, and returns what the other one says last."""
    running = start(workers, hosts)
    epoch = f"{KILLED_IN - 1:04d}"
    while not list((workers[0] / ".scratch" / "training").glob(f"*/{epoch}")):
        time.sleep(0.02)
        if any(process.poll() is not None for process in running):
            raise UserError("a worker ended before it was killed: see above")
    running[killed].kill()
    left = ended(running, workers)[1 - killed]
    if left.code == 0:
        raise UserError(f"worker {killed} was killed, and the other one did not notice")
    return left.lines[-1]


def train_to_the_end(workers: list[Path], hosts: list[Host]) -> list[Ended]:
    """Runs stage train on both hosts. What worker 1 writes is an error."""
    both = ended(start(workers, hosts), workers)
    if any(worker.code for worker in both):
        raise UserError(f"a training with two workers failed: {[worker.lines[-3:] for worker in both]}")
    if written := [name for name in ("models", "metrics", "plots", ".scratch") if (workers[1] / name).exists()]:
        raise UserError(f"worker 1 has written {written}")
    return both


def start(workers: list[Path], hosts: list[Host]) -> list[subprocess.Popen[bytes]]:
    """Starts stage train on both hosts."""
    addresses = ",".join(host.address for host in hosts)
    running = []
    for number, (folder, host) in enumerate(zip(workers, hosts, strict=True)):
        environment = environment_of(folder) | {"KWS_TRAIN_WORKERS": addresses, "KWS_TRAIN_WORKER": str(number)}
        with (folder / PRINTED).open("wb") as printed:
            process = subprocess.Popen(  # noqa: S603 (our own script)
                [*host.prefix, *command_of("train")],
                cwd=folder,
                env=environment,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
        running.append(process)
    return running


def ended(running: list[subprocess.Popen[bytes]], workers: list[Path]) -> list[Ended]:
    """How the workers ended."""
    codes = [process.wait() for process in running]
    printed = [(folder / PRINTED).read_text().splitlines() for folder in workers]
    return [Ended(code, lines) for code, lines in zip(codes, printed, strict=True)]


def row(  # noqa: PLR0913 (a row has that many origins)
    case: str,
    seed: int,
    project: Path,
    alone: Answered,
    workers: Sequence[Ended] = (),
    *,
    hosts: str = "",
    said: str = "",
) -> dict[str, Any]:
    """The row of a training that was evaluated.

    Args:
        case: what was trained.
        seed: of the training.
        project: the folder of the chief.
        alone: the answers of one machine with this seed.
        workers: how they ended.
        hosts: what they were.
        said: by the worker that was left when another one was killed.
    """
    featurized, trained, tested = (
        read_json(project / "metrics" / f"{name}.json") for name in ("featurize", "train", "evaluate")
    )
    difference = paired_test(alone, read_answered(project / "data" / "answers.npz"))
    from_alone = rounded({"difference": difference.accuracy} | difference.interval.figures("difference"))
    return {
        "case": case,
        "seed": seed,
        "workers": trained.get("workers", 1),
        "hosts": hosts,
        "train_clips": featurized["train"],
        **{name: trained[name] for name in ("epochs", "validation_accuracy")},
        **{name: tested[name] for name in ("test_clips", "accuracy", "accuracy_low", "accuracy_high")},
        **(from_alone if workers else dict.fromkeys(from_alone, "")),
        **dict.fromkeys(("weights_0", "weights_1"), ""),
        **{f"weights_{number}": worker.weights for number, worker in enumerate(workers)},
        "network": sha256_of(project / "models" / "kws.keras")[:16],
        "left_said": said,
    }


@contextmanager
def two_hosts() -> Iterator[tuple[str, list[Host]]]:
    """Two network namespaces, joined by a cable, and what they are; else two addresses of this machine."""
    names = [f"kws-{os.getpid()}-{number}" for number in range(2)]
    if os.geteuid() != 0 or not shutil.which("ip"):
        yield "two processes", [Host((), f"127.0.0.1:{PORT + number}") for number in range(2)]
        return
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "kws0", "netns", names[0], "type", "veth", "peer", "name", "kws1", "netns", names[1])
        for number, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.77.0.{1 + number}/24", "dev", f"kws{number}")
            for device in ("lo", f"kws{number}"):
                ip("-n", name, "link", "set", device, "up")
        hosts = [Host(("ip", "netns", "exec", name), f"10.77.0.{1 + n}:{PORT}") for n, name in enumerate(names)]
        yield "two network namespaces", hosts
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)  # noqa: S603, S607


def ip(*arguments: str) -> None:
    """Calls ip of iproute2."""
    subprocess.run(["ip", *arguments], check=True)  # noqa: S603, S607 (by root)


if __name__ == "__main__":
    main()
