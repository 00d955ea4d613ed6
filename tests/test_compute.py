import io
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SOURCE, TEST_ARCHIVE, make_front_end
from threadpoolctl import threadpool_limits

from kws.audio.frontend import BLAS_THREADS
from kws.core import paths
from kws.core.parallel import TASKS_AHEAD
from kws.featurize import compute
from kws.featurize.compute import CLIPS_A_TASK, compute_all, compute_chosen, compute_clip
from kws.featurize.splits import UNHEARD, Chosen
from kws.recordings import background
from kws.recordings.background import NOBODY
from kws.recordings.clips import Clip
from kws.records.write import RecordWriter

FRONT_END = make_front_end(16_000, 16_000, 1024, 256, 1024, 80, 20.0, 7600.0, 1e-7)


def wav(seed: int, samples: int = 16_000, gain: float = 0.1) -> bytes:
    file = io.BytesIO()
    sound = gain * np.random.default_rng(seed).normal(size=samples)
    soundfile.write(file, sound.clip(-1, 1), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_a_clip_does_not_know_its_neighbours_and_the_order_stays():
    recordings = [(f"{n}.wav", wav(n, 4000 + 37 * n, gain=10.0 ** (n % 4 - 3))) for n in range(2 * CLIPS_A_TASK + 3)]
    together = list(compute_all(recordings, FRONT_END))
    assert [clip.name for clip in together] == [name for name, _ in recordings]
    with threadpool_limits(BLAS_THREADS):
        alone = [compute_clip(name, data, FRONT_END).mel_power for name, data in recordings]
    for clip, mel_power in zip(together, alone, strict=True):
        np.testing.assert_array_equal(clip.mel_power, mel_power)


def test_recordings_are_read_only_a_few_tasks_ahead(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += 1
            yield f"{drawn}.wav", b""

    stream = compute_all(endless(), FRONT_END)
    for _ in range(5 * CLIPS_A_TASK):
        next(stream)
    assert drawn <= (5 + 2 * TASKS_AHEAD + 1) * CLIPS_A_TASK
    stream.close()


def test_memory_does_not_grow_with_the_clips(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(compute, "CLIPS_A_TASK", 8)

    def peak(clips: int) -> int:
        recordings = ((f"{n}.wav", wav(n % 3, 1600)) for n in range(clips))
        tracemalloc.start()
        with RecordWriter(tmp_path, {"train": clips}) as writer:
            for clip in compute_all(recordings, FRONT_END):
                writer.write("train", clip.name, "ada", 0, clip.mel_power)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)  # what is imported at the first clip
    assert peak(600) < 1.15 * peak(200)  # 72 are in memory at a time


@pytest.mark.parametrize(
    ("data", "reason"), [(None, "larger than 67,108,864 bytes"), (b"", "empty file"), (b"<html>", "not audio")]
)
def test_an_unusable_clip_is_set_aside_with_its_reason(data, reason):
    computed = compute_clip("x.wav", data, FRONT_END)
    assert computed.mel_power is None
    assert reason in computed.reason


@pytest.mark.parametrize("samples", [3200, 16_000, 80_000])
def test_every_length_gives_the_same_shape(samples):
    computed = compute_clip("x.wav", wav(1, samples), FRONT_END)
    assert computed.samples == samples
    assert computed.mel_power.shape == (12 + 59 + 12, 80)
    assert computed.mel_power.dtype == np.float32


@pytest.fixture
def chosen_features(tmp_path, monkeypatch):
    """Packs clips into the archive of the data set and into that of the test data set, computes those that are chosen.

    Returns {(split, name): Mel power}, and what was asked of the noises.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        compute, "compute_all", lambda pairs, front_end: [compute_clip(*pair, front_end) for pair in pairs]
    )

    def pack(archive: Path, clips: dict[str, bytes]) -> None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "w") as tar:
            for name, data in clips.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    def run(chosen: list[Chosen], own: dict[str, bytes], tested: dict[str, bytes] | None, noises: dict | None = None):
        pack(paths.RAW / "own.tar", own)
        if tested is not None:
            pack(paths.TEST_RAW / "tested.tar", tested)
        test = replace(TEST_ARCHIVE, archive="tested.tar")
        source = replace(SOURCE, archive="own.tar", test=test if tested else None)
        computed = list(compute_chosen(chosen, source, noises or {}, FRONT_END))
        for one, clip in computed:
            assert clip.name == one.clip.name
        assert len(computed) == len({(one.split, one.clip.name) for one, _ in computed}) == len(chosen)
        return {(one.split, clip.name): clip.mel_power for one, clip in computed}

    return run


def test_each_clip_is_read_from_the_archive_of_its_split(chosen_features):
    clip, other = Clip("yes/ann_nohash_0.wav", "yes", "ann"), Clip("cat/bob_nohash_0.wav", "cat", "bob")
    chosen = [Chosen(other, "_unknown_", UNHEARD)]
    chosen += [Chosen(clip, "yes", split) for split in ("train", "test")]
    chosen += [Chosen(other, "_unknown_", "validation")]
    own = {clip.name: wav(1), other.name: wav(2), "never/chosen.wav": b""}
    tested = {clip.name: wav(3), other.name: wav(4)}
    got = chosen_features(chosen, own, tested)
    wanted = {("train", clip.name): 1, ("validation", other.name): 2, ("test", clip.name): 3, (UNHEARD, other.name): 4}
    assert set(got) == set(wanted)
    for key, seed in wanted.items():
        np.testing.assert_array_equal(got[key], compute_clip("", wav(seed), FRONT_END).mel_power)


def test_without_a_test_data_set_all_splits_are_read_from_the_one_archive(chosen_features):
    names = {split: f"yes/{split}.wav" for split in ("train", "validation", "test")}
    chosen = [Chosen(Clip(name, "yes", name), "yes", split) for split, name in names.items()]
    got = chosen_features(chosen, {name: wav(seed) for seed, name in enumerate(names.values())}, None)
    for seed, key in enumerate(names.items()):
        np.testing.assert_array_equal(got[key], compute_clip("", wav(seed), FRONT_END).mel_power)


def test_clips_in_which_nobody_speaks_are_made_of_the_background_of_their_split(chosen_features):
    noises = {"hiss": np.random.default_rng(0).normal(size=320_000).astype(np.float32)}
    speaks = Clip("yes/ann_nohash_0.wav", "yes", "ann")
    chosen = [Chosen(speaks, "yes", "train")]
    made = [(f"_silence_/{split}-00000", split) for split in ("train", "validation", "test")]
    chosen += [Chosen(Clip(name, "_silence_", NOBODY), "_silence_", split) for name, split in made]
    got = chosen_features(chosen, {speaks.name: wav(1)}, None, noises)
    assert set(got) == {("train", speaks.name)} | {(split, name) for name, split in made}
    for name, split in made:
        waveform = background.silence(name, [*noises.values()], split, 16_000)
        with threadpool_limits(BLAS_THREADS):
            wanted = FRONT_END.with_margins(waveform)
        np.testing.assert_array_equal(got[split, name], wanted)


def test_made_clips_have_the_same_bytes_on_any_number_of_cores(chosen_features):
    noises = {"hiss": np.random.default_rng(0).normal(size=320_000).astype(np.float32)}
    names = [f"_silence_/train-{number:05d}" for number in range(5)]
    chosen = [Chosen(Clip(name, "_silence_", NOBODY), "_silence_", "train") for name in names]
    got = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            got.append(chosen_features(chosen, {}, None, noises))
    for name in names:
        np.testing.assert_array_equal(got[0]["train", name], got[1]["train", name])


def test_a_speaker_who_is_called_nobody_is_heard_all_the_same(chosen_features):
    clip = Clip(f"yes/{NOBODY}_nohash_0.wav", "yes", NOBODY)
    got = chosen_features([Chosen(clip, "yes", "train")], {clip.name: wav(5)}, None)
    np.testing.assert_array_equal(got["train", clip.name], compute_clip("", wav(5), FRONT_END).mel_power)
