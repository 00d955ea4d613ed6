"""Shards that are made one by one, each by somebody who shares no memory with the others."""

import gzip
import io
import itertools
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import FRONT_END, SOURCE
from encode import encoded
from threadpoolctl import threadpool_info, threadpool_limits

from kws.core import paths
from kws.core.arrays import write_arrays
from kws.core.errors import UserError
from kws.featurize import shards
from kws.featurize.shards import Common, Plan, computer, make_shard
from kws.featurize.splits import Chosen
from kws.featurize.write import Recipe, write_features
from kws.recordings.archive import is_plain_tar, places_in, read_members, write_plain_tar
from kws.recordings.background import NOBODY
from kws.recordings.clips import SPLITS, Clip
from kws.records import write

RATE = FRONT_END.sample_rate


def spoken(seed: int, *starts: float, seconds: float = 1.0) -> bytes:
    samples = 1e-3 * np.random.default_rng(seed).normal(size=round(seconds * RATE))
    for start in starts or (0.3,):
        first = round(start * RATE)
        samples[first : first + 5333] += 0.3 * np.sin(2 * np.pi * (300 + seed) * np.arange(5333) / RATE)
    return encoded(samples.astype(np.float32), RATE, "WAV", "FLOAT")


RECORDINGS = {
    **{f"yes/{number}.wav": spoken(number) for number in range(20)},
    "yes/takes.wav": spoken(99, 0.4, 1.6, 3.0, seconds=4.0),
    "yes/empty.wav": b"",
    "never/chosen.wav": b"RIFF",
}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(autouse=True)
def _limits_of_these_tests() -> Iterator[None]:
    """What a worker limits for good, a test limits for itself."""
    shards._limit_blas.cache_clear()
    with threadpool_limits():
        yield


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Recordings of two splits in two archives, and silence: what `write_features` takes, without the folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write, "CLIPS_A_SHARD", 5)
    names = list(RECORDINGS)
    pack(paths.RAW / "parts" / "1.tar", {name: RECORDINGS[name] for name in names[:9]})
    pack(paths.RAW / "parts" / "2.tar", {name: RECORDINGS[name] for name in names[9:]})
    pack(paths.RAW / "computed.tar", {"_computed_/yes/a.wav": spoken(50)})
    computed = replace(SOURCE, archive="computed.tar")
    source = replace(SOURCE, archive="parts", computed=computed)
    chosen = [Chosen(Clip(name, "yes", "ann"), "yes", "train") for name in names[:15]]
    chosen += [Chosen(Clip(name, "yes", "bob"), "yes", "test") for name in names[15:-1]]
    silent = [f"_silence_/train-{number:05d}" for number in range(3)]
    chosen += [Chosen(Clip(name, "_silence_", NOBODY + name), "_silence_", "train") for name in silent]
    chosen = sorted(chosen, key=lambda one: one.clip.name)
    chosen.append(Chosen(Clip("_computed_/yes/a.wav", "yes", "v"), "yes", "train"))
    rng = np.random.default_rng(0)
    noises = {split: {"hiss": rng.normal(size=2 * RATE).astype(np.float32)} for split in SPLITS}
    cut_of = {paths.RAW / "parts": "takes", paths.RAW / "computed.tar": "start"}
    return chosen, source, noises, Recipe(FRONT_END, cut_of, {"yes": 0, "_silence_": 1})


@pytest.fixture
def planned(experiment, tmp_path):
    """The plan of the experiment, and its tasks in any order."""
    chosen, source, noises, recipe = experiment
    plan = Plan(tmp_path, chosen, source)
    recordings = plan.locate([sorted((paths.RAW / "parts").iterdir()), [paths.RAW / "computed.tar"]])
    assert recordings == len(chosen)
    with (tmp_path / "noises.npz").open("wb") as file:
        write_arrays(file, ((f"{split}/hiss", noises[split]["hiss"]) for split in noises))
    common = Common(recipe, plan.archives, tuple(plan.parts), tmp_path / "noises.npz", computer(FRONT_END))
    (tmp_path / "shards").mkdir()
    yield plan, list(plan.tasks(tmp_path / "shards", common))
    plan.close()


def test_shards_that_are_made_alone_in_any_order_are_those_of_one_process_and_so_are_the_rows(
    experiment, planned, tmp_path
):
    (tmp_path / "here").mkdir()
    wanted = list(write_features(tmp_path / "here", *experiment))
    plan, tasks = planned
    assert len(tasks) > 5
    assert Counter(len(task.recordings) for task in tasks).total() == len(tasks)
    for task in reversed(tasks):
        plan.keep(make_shard(task))
    assert list(plan.rows()) == wanted
    assert [row["name"] for row in wanted if row["recording"] == "yes/takes.wav"][1:] == [
        "yes/takes.wav#2",
        "yes/takes.wav#3",
    ]
    made = {task.target.name: task.target.read_bytes() for task in tasks}
    here = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert {name: content for name, content in here.items() if content} == {n: c for n, c in made.items() if c}


@pytest.mark.usefixtures("planned")
def test_the_plan_takes_room_but_has_no_name_and_what_a_killed_stage_left_is_removed(tmp_path):
    assert not [path for path in tmp_path.iterdir() if path.is_file() and path.suffix != ".npz"]
    old = tmp_path / ".partial-features-0"
    old.mkdir()
    (old / "noises.npz").touch()
    with shards._shared_folder(tmp_path / ".partial-features") as shared:
        assert shared.parent == tmp_path
        (shared / "a.tfrecord").touch()
        assert not old.exists()
    assert not shared.exists()


def test_takes_of_a_recording_are_in_its_shard(planned):
    _, tasks = planned
    [task] = [task for task in tasks if any(place.choice.clip.name == "yes/takes.wav" for place in task.recordings)]
    names = [name for _, _, row in make_shard(task).rows if "takes" in row for name in [row.split('"')[1]]]
    assert names == ["yes/takes.wav", "yes/takes.wav#2", "yes/takes.wav#3"]


def test_a_shard_that_two_workers_make_is_whole_at_any_time(planned):
    _, [task, *_] = planned
    before = make_shard(task)
    content = task.target.read_bytes()
    assert make_shard(task) == before
    assert task.target.read_bytes() == content
    assert [path.name for path in task.target.parent.iterdir()] == [task.target.name]


def test_who_does_not_reach_the_archives_says_so(planned):
    _, [task, *_] = planned
    lost = replace(task, common=replace(task.common, parts=(Path("/mnt/a.tar"),) * len(task.common.parts)))
    with pytest.raises(
        UserError, match=r"^a worker on \S+ does not reach /mnt/a.tar: every worker needs the project's"
    ):
        make_shard(lost)
    with pytest.raises(UserError, match=r"does not reach /mnt/shards: "):
        make_shard(replace(task, target=Path("/mnt/shards/train-00000-of-00001.tfrecord")))


def test_who_would_compute_other_bytes_is_refused_and_what_differs_is_told(planned):
    _, [task, *_] = planned
    other = task.common.computer | {"numpy": "1.0", "features of a test sound": "beef"}
    with pytest.raises(
        UserError, match=r"would compute other bytes.*: it has numpy \S+ instead of 1.0, features of a te"
    ):
        make_shard(replace(task, common=replace(task.common, computer=other)))
    assert list(task.target.parent.iterdir()) == []


def test_a_shard_that_is_made_does_not_lift_the_limit_under_which_another_thread_makes_one(planned):
    _, [task, *_] = planned
    with threadpool_limits(2):
        make_shard(task)
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}


def test_a_disk_that_is_too_full_for_the_plan_is_a_full_disk(experiment, tmp_path, monkeypatch):
    _, *others = experiment
    monkeypatch.setattr(shards, "_TABLES", f"{shards._TABLES} PRAGMA max_page_count = 8;")
    chosen = [Chosen(Clip(f"yes/{number}.wav", "yes", "ann"), "yes", "train") for number in range(1000)]
    with pytest.raises(OSError, match="No space left") as full:
        list(shards.write_features(tmp_path / "out", chosen, *others, where="local"))
    assert full.value.filename == "the plan in .scratch/featurize, or what SQLite sorts: SQLITE_TMPDIR"


def test_an_archive_that_was_cut_off_meanwhile_is_an_error(planned):
    _, tasks = planned
    for part in (paths.RAW / "parts").iterdir():
        part.write_bytes(part.read_bytes()[:600])
    with pytest.raises(UserError, match=r"\.tar: is cut off, or was changed while it was read$"):
        list(map(make_shard, tasks))


def test_the_places_in_a_plain_tar_are_those_of_its_files_and_every_archive_can_become_one(tmp_path):
    names = {"a/1.wav": b"one", f"{'long' * 40}/ü.wav": b"two", "a/empty.wav": b""}
    plain = pack(tmp_path / "plain.tar", names)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert (is_plain_tar(plain), is_plain_tar(packed)) == (True, False)
    write_plain_tar(packed, tmp_path / "unpacked.tar")
    for path in (plain, tmp_path / "unpacked.tar"):
        content = path.read_bytes()
        assert {name: content[first : first + size] for name, first, size in places_in(path)} == names


def test_a_recording_that_is_too_large_stays_too_large_in_a_plain_tar(tmp_path, monkeypatch):
    monkeypatch.setattr("kws.recordings.archive.MAX_MEMBER_BYTES", 20_000)
    packed = tmp_path / "packed"
    packed.write_bytes(
        gzip.compress(pack(tmp_path / "plain.tar", {"a/1.wav": bytes(30_000), "a/2.wav": b"2"}).read_bytes())
    )
    write_plain_tar(packed, tmp_path / "unpacked.tar")
    assert dict(read_members(tmp_path / "unpacked.tar")) == {"a/1.wav": None, "a/2.wav": b"2"}


def test_what_must_be_equal_holds_versions_the_code_and_the_last_digits():
    told = computer(FRONT_END)
    assert told["numpy"] == np.__version__
    assert told["libsndfile"] == soundfile.__libsndfile_version__
    assert told["features of a test sound"] != computer(replace(FRONT_END, mel_bins=39))["features of a test sound"]


@pytest.mark.parametrize(("library", "function"), [(soundfile.SoundFile, "read"), (soxr, "resample")])
def test_the_test_sound_tells_of_another_decoder_and_another_resampler(monkeypatch, library, function):
    told = computer(FRONT_END)
    before = getattr(library, function)
    monkeypatch.setattr(library, function, lambda *given, **named: before(*given, **named) * np.float32(1 + 1e-6))
    other = computer.__wrapped__(FRONT_END)
    assert {name for name in told if told[name] != other[name]} == {"features of a test sound"}


def test_the_plan_takes_no_memory_for_each_recording(tmp_path, monkeypatch):
    """What is held at a time is a shard's recordings."""
    import tracemalloc

    def peak(clips: int) -> int:
        monkeypatch.setattr(shards, "places_in", lambda _: ((f"yes/{n}.wav", n, 1) for n in range(clips)))
        chosen = [Chosen(Clip(f"yes/{n}.wav", "yes", "ann"), "yes", "train") for n in range(clips)]
        tracemalloc.start()  # after the list of the clips
        plan = Plan(tmp_path, chosen, replace(SOURCE, archive="own.tar"))
        assert plan.locate([[Path("own.tar")]]) == clips
        common = Common(Recipe(FRONT_END, {}, {}), plan.archives, (), Path(), {})
        read = sum(len(task.recordings) for task in plan.tasks(Path(), common))
        for first in range(0, clips, 100):
            rows = [(n, 0, '["a"]') for n in range(first, first + 100)]
            plan.keep(shards.Made(Path(), 100, rows))
        assert sum(1 for _ in itertools.islice(plan._database.execute("SELECT row FROM rows"), clips)) == read == clips
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        plan.close()
        return most

    monkeypatch.setattr(write, "CLIPS_A_SHARD", 100)
    peak(100)
    assert peak(20_000) < 1.5 * peak(2000) + 100_000  # each recording that was held would take 500 bytes
