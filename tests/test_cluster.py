"""The stage featurize on Dask: the same bytes, whatever the workers; what becomes of a worker that is lost."""

import gzip
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from encode import encoded
from test_shards import pack, spoken

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import sha256_of
from kws.download.voices import synthetic
from kws.recordings.clips import SPLITS, UNHEARD, Clip
from kws.recordings.people import speaker_split
from kws.records import write

pytest.importorskip("distributed", reason="needs Dask (extra cluster)")

from kws.cluster import engine

WORDS = ["no", "yes"]


class Cluster:
    """A scheduler and workers, each a process of its own, that know nothing of the project but its code."""

    def __init__(self, folder: Path, workers: int, code: Path) -> None:
        self.file = folder / "scheduler.json"
        environment = os.environ | {"PYTHONPATH": f"{code}{os.pathsep}{Path(__file__).parent}"}
        here = {"env": environment, "cwd": folder, "stderr": subprocess.DEVNULL}
        tell = ["--scheduler-file", str(self.file), "--host", "127.0.0.1", "--no-dashboard"]
        self.scheduler = subprocess.Popen([*self._program("scheduler"), *tell, "--port", "0"], **here)
        while not self.file.exists():
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        one = [*tell, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder)]
        self.workers = [subprocess.Popen([*self._program("worker"), *one], **here) for _ in range(workers)]

    @staticmethod
    def _program(name: str) -> list[str]:
        return [sys.executable, "-m", f"distributed.cli.dask_{name}"]

    @property
    def address(self) -> str:
        return json.loads(self.file.read_text())["address"]

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path) -> Iterator[Callable[..., Cluster]]:
    """Starts a cluster with so many workers, which have this code of kws."""
    started = []

    def start(workers: int, code: Path = ROOT / "src") -> Cluster:
        folder = tmp_path / f"cluster{len(started)}"
        folder.mkdir()
        started.append(Cluster(folder, workers, code))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def project(tmp_path, write_params, monkeypatch) -> Callable[..., None]:
    """Runs download on recordings of two words by twelve people; silence, takes and an unusable file are among them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(write, "CLIPS_A_SHARD", 4)

    def write_other_speech(target: Path, *_: object) -> list[Clip]:
        names = {f"_other_speech_/{split}.wav": split for split in UNHEARD}
        pack(target, {name: spoken(len(name)) for name in names})
        return [Clip(name, "camera", f"computed-{split}", split) for name, split in names.items()]

    monkeypatch.setattr(synthetic, "write_other_speech", write_other_speech)

    def run(pack_as: str = "tar", **changes: object) -> None:
        people = [f"{number:03d}" for number in range(60)]
        people = [one for split in SPLITS for one in [p for p in people if speaker_split(p) == split][:6]]
        files = {
            f"{word}/{person}_nohash_0.wav": spoken(17 * place + len(word))
            for word in WORDS
            for place, person in enumerate(people)
        }
        files[f"yes/{people[0]}_nohash_1.wav"] = spoken(5, 0.4, 1.6, 3.0, seconds=4.0)
        files[f"yes/{people[0]}_nohash_2.wav"] = b"<html>"
        files["_background_noise_/tap.wav"] = encoded(
            1e-2 * np.random.default_rng(3).normal(size=64_000).astype(np.float32), 16_000
        )
        names = sorted(files)
        if pack_as == "parts":
            pack(tmp_path / "mine" / "1.tar", {name: files[name] for name in names[::2]})
            pack(tmp_path / "mine" / "2.tar", {name: files[name] for name in names[1::2]})
        else:
            pack(tmp_path / "mine", files)
        if pack_as == "tar.gz":
            (tmp_path / "mine").write_bytes(gzip.compress((tmp_path / "mine").read_bytes()))
        settings = {"dataset": "mine", "words": WORDS, "silence": 0.5, "cut": "takes", "max_unusable_share": 0.2}
        write_params(**settings | changes)
        runpy.run_path(str(ROOT / "stages" / "download.py"))["main"]()

    return run


def featurize(monkeypatch, where: str = "") -> dict[str, str]:
    """Runs the stage; the digests of all that it writes."""
    monkeypatch.setenv("KWS_CLUSTER", where)
    runpy.run_path(str(ROOT / "stages" / "featurize.py"))["main"]()
    written = [path for folder in (paths.FEATURES, paths.METRICS, paths.PLOTS) for path in folder.rglob("*")]
    return {path.as_posix(): sha256_of(path) for path in written if path.is_file()}


def leftovers(folder: Path) -> list[Path]:
    return [*folder.rglob(".partial-*"), *folder.glob(".scratch/featurize/tmp*")]


@pytest.mark.parametrize("pack_as", ["tar", "tar.gz", "parts"])
def test_workers_of_any_number_write_the_bytes_of_one_process(project, cluster, monkeypatch, capsys, pack_as):
    project(pack_as)
    capsys.readouterr()
    wanted = featurize(monkeypatch)
    said = capsys.readouterr().out
    assert len([name for name in wanted if name.endswith(".tfrecord")]) > 8
    for workers in (1, 2) if pack_as == "tar" else (2,):
        started = cluster(workers)
        assert featurize(monkeypatch, str(started.file) if workers == 1 else started.address) == wanted
        told = capsys.readouterr().out
        unpacked = "mine: unpacked for the workers, since it is no plain tar (1 of 1 files)\n"
        assert told.replace(unpacked, "") == said
        assert (unpacked in told) == (pack_as == "tar.gz")
        started.stop()
    assert leftovers(Path()) == []


def test_workers_of_this_machine_write_the_same_with_the_front_end_of_devices(project, monkeypatch):
    project(front_end="micro", frame_length=480, hop_length=160, fft_length=512, mel_bins=40, mel_low_hz=125.0,
            mel_high_hz=7500.0)  # fmt: skip
    assert featurize(monkeypatch) == featurize(monkeypatch, "local:2")


def test_a_worker_that_is_killed_in_the_middle_changes_nothing(project, cluster, monkeypatch):
    project()
    wanted = featurize(monkeypatch)
    started = cluster(2)
    finished = engine._result
    results = []

    def kill_at_the_third(future, name):
        results.append(name)
        if len(results) == 3:
            started.workers[0].kill()
        return finished(future, name)

    monkeypatch.setattr(engine, "_result", kill_at_the_third)
    assert featurize(monkeypatch, started.address) == wanted
    assert len(results) == len(set(results)) > 8
    assert started.workers[0].wait() == -signal.SIGKILL


def die_once(marker: Path) -> int:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


def die(_: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(problem: Exception) -> None:
    raise problem


def run(where: str, work: Callable, tasks: list) -> list:
    with engine.connected(where) as client:
        return sorted(engine.results_of(client, work, tasks, lambda task: f"task {task}"))


def test_a_lost_worker_costs_its_task_alone(cluster, tmp_path):
    assert run(cluster(2).address, die_once, [tmp_path / "a"]) == [7]
    assert run(cluster(2).address, abs, list(range(-9, 0))) == list(range(1, 10))


def test_a_task_that_kills_every_worker_is_one_line(cluster):
    with pytest.raises(
        UserError, match=r"^KWS_CLUSTER: task a failed for good: 4 workers have died of it, the last one"
    ):
        run(cluster(5).address, die, ["a"])


def test_a_task_that_fails_is_tried_again_and_then_one_line(cluster):
    address = cluster(1).address
    with pytest.raises(UserError, match=r"^KWS_CLUSTER: task no\nno failed for good, 3 times: ValueError: no no$"):
        run(address, fail, [ValueError("no\nno")])
    with pytest.raises(UserError, match=r"^a worker on x does not reach it$"):
        run(address, fail, [UserError("a worker on x does not reach it")])
    with pytest.raises(OSError, match="No space left") as full:
        run(address, fail, [OSError(28, "No space left on device", "a.tfrecord")])
    assert (full.value.errno, full.value.filename) == (28, "a.tfrecord")


def test_workers_that_are_gone_for_good_are_one_line(cluster, monkeypatch):
    started = cluster(1)
    monkeypatch.setattr(engine, "NO_WORKER_SECONDS", 0)
    with engine.connected(started.address) as client:
        results = engine.results_of(client, time.sleep, [0.1, 1000], str)
        next(results)
        started.workers[0].kill()
        with pytest.raises(
            UserError, match=r"^KWS_CLUSTER: no worker has been there for 0 s: their logs may say why; start "
        ):
            next(results)


def test_a_scheduler_that_is_gone_is_one_line(cluster):
    started = cluster(1)
    with engine.connected(started.address) as client:
        results = engine.results_of(client, time.sleep, [0.1, 1000], str)
        next(results)
        started.scheduler.kill()
        with pytest.raises(
            UserError, match=r"^KWS_CLUSTER: the scheduler is gone, and what was not finished with it: "
        ):
            next(results)


@pytest.mark.parametrize("where", ["local:0", "local:two", "nothing.json", "machines"])
def test_what_is_no_cluster_is_one_line(where):
    with pytest.raises(UserError, match=rf"^KWS_CLUSTER: {where} is refused: "):
        run(where, abs, [])


def test_a_worker_that_is_killed_while_it_starts_is_one_line(monkeypatch):
    def killed(**_):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", killed)
    with (
        pytest.raises(UserError, match=r"^KWS_CLUSTER: local:2: the workers did not start \(Nanny failed to start\.\)"),
        engine.connected("local:2"),
    ):
        pytest.fail("there is no cluster")


def test_where_no_scheduler_answers_or_no_worker_comes_is_one_line(cluster, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(engine, "FIRST_WORKER_SECONDS", 1)
    with pytest.raises(UserError, match=r"^KWS_CLUSTER: no scheduler answers at tcp://127.0.0.1:1 \(.*: start one, or"):
        run("tcp://127.0.0.1:1", abs, [])
    with pytest.raises(
        UserError, match=r"^KWS_CLUSTER: no worker has come to tcp://\S+ in 1 s: start some, then run it"
    ):
        run(cluster(0).address, abs, [])


def test_no_message_that_holds_a_task_is_kept():
    with engine.connected("local:1") as client:
        assert len(list(engine.results_of(client, len, (["a"] for _ in range(50)), str))) == 50
        [to_worker] = client.cluster.scheduler.stream_comms.values()
        for stream in (to_worker, client.scheduler_comm):
            assert stream.batch_count > 10
            assert list(stream.recent_message_log) == []


def test_workers_that_lack_the_code_of_kws_are_told_of_at_once(cluster, tmp_path):
    code = tmp_path / "other" / "kws"
    (code / "core").mkdir(parents=True)
    for path in (code / "__init__.py", code / "core" / "__init__.py"):
        path.touch()
    started = cluster(1, code.parent)
    line = r"^KWS_CLUSTER: 1 of 1 workers cannot import kws as it is here \(tcp://\S+: {}\): give them the same env"
    with engine.connected(str(started.file)) as client:
        with pytest.raises(UserError, match=line.format("No module named 'kws.core.files'")):
            list(engine.results_of(client, sha256_of, [Path("x")], str))
        (code / "core" / "files.py").touch()
        with pytest.raises(UserError, match=line.format("module 'kws.core.files' has no attribute 'sha256_of'")):
            list(engine.results_of(client, sha256_of, [Path("x")], str))
        started.scheduler.kill()
        started.scheduler.wait()
        with pytest.raises(UserError, match=r"^KWS_CLUSTER: the scheduler is gone"):
            list(engine.results_of(client, sha256_of, [Path("x")], str))


def test_without_dask_what_to_install_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"^KWS_CLUSTER: local needs Dask: make setup WITH=cluster, or unset KWS_"):
        run("local", abs, [])
