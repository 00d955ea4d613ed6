import io
import tarfile
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SOURCE, TEST_ARCHIVE, make_front_end
from encode import encoded
from threadpoolctl import threadpool_limits

from kws.audio.cut import LONGER, Cut
from kws.audio.frontend import BLAS_THREADS
from kws.core import paths
from kws.core.parallel import TASKS_AHEAD
from kws.featurize import compute
from kws.featurize.chosen import Chosen
from kws.featurize.compute import AT_EDGE, RECORDINGS_A_TASK, Features, compute_chosen, compute_recording
from kws.recordings import background
from kws.recordings.background import NOBODY
from kws.recordings.clips import UNHEARD, Clip
from kws.records import write
from kws.records.write import RecordWriter

FRONT_END = make_front_end(16_000, 16_000, 1024, 256, 1024, 80, 20.0, 7600.0, 1e-7)


def wav(seed: int, samples: int = 16_000, gain: float = 0.1) -> bytes:
    file = io.BytesIO()
    sound = gain * np.random.default_rng(seed).normal(size=samples)
    soundfile.write(file, sound.clip(-1, 1), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def choice_of(name: str, label: str = "yes", split: str = "train", speaker: str = "ann") -> Chosen:
    return Chosen(Clip(name, label, speaker), label, split)


def cut_up(name: str, data: bytes | None, cut: Cut, label: str = "yes") -> list[Features]:
    """The clips of a recording."""
    with threadpool_limits(BLAS_THREADS):
        return compute_recording(choice_of(name, label), data, FRONT_END, cut)


def one_clip(data: bytes | None, label: str = "yes", cut: Cut = "start") -> Features:
    """The clip of a recording that has one."""
    [features] = cut_up("x.wav", data, cut, label)
    return features


def compute_all(recordings: Iterable[tuple[str, bytes]], names: Iterable[str], monkeypatch) -> Iterator[Features]:
    """The features of recordings that come from no archive."""
    monkeypatch.setattr(compute, "read_members", lambda *_: recordings)
    source = replace(SOURCE, archive="own.tar")
    chosen = [choice_of(name) for name in names]
    computed = compute_chosen(chosen, source, {}, FRONT_END, {source.archive_of("train"): "start"})
    return (features for _, [features] in computed)


def test_a_clip_does_not_know_its_neighbours_and_the_order_stays(monkeypatch):
    recordings = {f"{n}.wav": wav(n, 4000 + 37 * n, gain=10.0 ** (n % 4 - 3)) for n in range(2 * RECORDINGS_A_TASK + 3)}
    together = list(compute_all(recordings.items(), recordings, monkeypatch))
    assert [clip.name for clip in together] == [clip.recording for clip in together] == list(recordings)
    alone = [one_clip(data).mel_power for data in recordings.values()]
    for clip, mel_power in zip(together, alone, strict=True):
        np.testing.assert_array_equal(clip.mel_power, mel_power)


def test_recordings_are_read_only_a_few_tasks_ahead(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    drawn = 0
    names = [f"{number}.wav" for number in range(50 * RECORDINGS_A_TASK)]

    def counted():
        nonlocal drawn
        for name in names:
            drawn += 1
            yield name, b""

    stream = compute_all(counted(), names, monkeypatch)
    for _ in range(5 * RECORDINGS_A_TASK):
        next(stream)
    assert drawn <= (5 + 2 * TASKS_AHEAD + 1) * RECORDINGS_A_TASK
    stream.close()


def test_memory_does_not_grow_with_the_clips(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(compute, "RECORDINGS_A_TASK", 8)
    monkeypatch.setattr(write, "WAITING_BYTES", 2**20)

    def peak(clips: int) -> int:
        names = [f"{number}.wav" for number in range(clips)]
        recordings = ((name, wav(number % 3, 1600)) for number, name in enumerate(names))
        computed = compute_all(recordings, names, monkeypatch)
        tracemalloc.start()  # after the list of the clips, which is longer where there are more
        with RecordWriter(tmp_path, {"train": clips}) as writer:
            for clip in computed:
                writer.write("train", clip.name, "ada", 0, clip.mel_power)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)  # what is imported at the first clip
    assert peak(600) < 1.5 * peak(200)  # 72 are in memory at a time, if the threads are that far ahead; kept, it were 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "larger than 268,435,456 bytes"),
        (b"", "empty file"),
        (b"<html>", "not audio"),
        (wav(0, gain=0), "silent: every sample is zero"),
    ],
)
def test_an_unusable_clip_is_set_aside_with_its_reason(data, reason):
    computed = one_clip(data)
    assert computed.mel_power is None
    assert reason in computed.reason
    assert (computed.recording, computed.name, computed.samples) == ("x.wav", "x.wav", 0)


def test_a_recording_of_silence_may_be_silent():
    computed = one_clip(wav(0, gain=0), "_silence_")
    assert computed.reason == ""
    np.testing.assert_array_equal(computed.mel_power, np.zeros((12 + 59 + 12, 80)))


@pytest.mark.parametrize("samples", [3200, 16_000, 80_000])
def test_every_length_gives_the_same_shape(samples):
    computed = one_clip(wav(1, samples))
    assert computed.samples == samples
    assert computed.mel_power.shape == (12 + 59 + 12, 80)
    assert computed.mel_power.dtype == np.float32


def spoken(*starts: float, seconds: float = 4.0, noise: float = 1e-3) -> np.ndarray:
    """Faint noise, and a third of a second of a tone at each of these times."""
    samples = noise * np.random.default_rng(0).normal(size=round(seconds * 16_000))
    for start in starts:
        first = round(start * 16_000)
        samples[first : first + 5333] += 0.3 * np.sin(2 * np.pi * 440 * np.arange(5333) / 16_000)
    return samples.astype(np.float32)


def test_the_word_in_a_longer_recording_is_the_clip():
    samples = spoken(2.4)
    [computed] = cut_up("a.wav", encoded(samples, 16_000, "WAV", "FLOAT"), "word")
    assert (computed.name, computed.recording, computed.samples) == ("a.wav", "a.wav", 64_000)
    assert computed.remarks == (LONGER,)
    assert computed.start == pytest.approx(2.4 - 0.333, abs=0.05)
    with threadpool_limits(BLAS_THREADS):
        wanted = FRONT_END.with_margins(samples, round(computed.start * 16_000))
    np.testing.assert_array_equal(computed.mel_power, wanted)
    assert wanted[:12].any()  # the margins have the sound around the clip


def test_each_take_is_a_clip_with_a_name_of_its_own():
    data = encoded(spoken(0.4, 1.6, 3.0), 16_000, "WAV", "FLOAT")
    computed = cut_up("a.wav", data, "takes")
    assert [features.name for features in computed] == ["a.wav", "a.wav#2", "a.wav#3"]
    assert {features.recording for features in computed} == {"a.wav"}
    assert [features.start for features in computed] == pytest.approx([0.067, 1.267, 2.667], abs=0.05)
    assert [features.remarks for features in computed] == [(LONGER,), (), ()]  # a remark on the recording counts once


@pytest.mark.parametrize("cut", ["word", "takes"])
def test_a_longer_recording_without_a_word_is_set_aside_and_one_of_silence_is_not(cut):
    data = encoded(spoken(), 16_000)
    computed = one_clip(data, cut=cut)
    assert (computed.mel_power, computed.samples) == (None, 64_000)
    assert computed.reason == "no word stands out of its noise"
    computed = one_clip(data, "_silence_", cut)
    assert (computed.start, computed.reason, computed.remarks) == (0, "", (LONGER,))


@pytest.mark.parametrize(("start", "touches"), [(0.0, True), (0.3, False), (0.66, True)])
def test_a_word_at_the_edge_of_its_clip_is_remarked(start, touches):
    computed = one_clip(encoded(spoken(start, seconds=1.0), 16_000), cut="word")
    assert computed.remarks == ((AT_EDGE,) if touches else ())


def test_what_was_mended_in_a_recording_is_remarked():
    loud = 30_000 * spoken(0.3, seconds=1.0)
    computed = one_clip(encoded(loud, 16_000, "WAV", "FLOAT"))
    assert computed.remarks == ("divided by 32768: floats in the range of integers",)


@pytest.fixture
def chosen_features(tmp_path, monkeypatch):
    """Packs clips into the archive of the data set and into that of the test data set, computes those that are chosen.

    Returns {(split, name): Mel power}.
    """
    monkeypatch.chdir(tmp_path)

    def pack(archive: Path, clips: dict[str, bytes]) -> None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "w") as tar:
            for name, data in clips.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    def run(
        chosen: list[Chosen],
        own: dict[str, bytes],
        tested: dict[str, bytes] | None,
        noises: dict | None = None,
        cuts: tuple[str, str] = ("start", "start"),
    ):
        pack(paths.RAW / "own.tar", own)
        if tested is not None:
            pack(paths.TEST_RAW / "tested.tar", tested)
        test = replace(TEST_ARCHIVE, archive="tested.tar")
        unheard = SOURCE.unheard | ({"unheard_test": "test_dataset"} if tested else {})
        source = replace(SOURCE, archive="own.tar", test=test if tested else None, unheard=unheard)
        cut_of = {source.archive_of("test"): cuts[1], source.archive_of("train"): cuts[0]}
        computed = [(one, clip) for one, [clip] in compute_chosen(chosen, source, noises or {}, FRONT_END, cut_of)]
        for one, clip in computed:
            assert clip.name == one.clip.name
        assert len(computed) == len({(one.split, one.clip.name) for one, _ in computed}) == len(chosen)
        return {(one.split, clip.name): clip.mel_power for one, clip in computed}

    return run


def test_each_archive_is_cut_in_its_own_way(chosen_features):
    late = encoded(spoken(2.4), 16_000, "WAV", "FLOAT")
    chosen = [choice_of("yes/a.wav", split="train"), choice_of("yes/b.wav", split="test", speaker="bob")]
    for cuts in (("word", "start"), ("start", "word")):
        got = chosen_features(chosen, {"yes/a.wav": late}, {"yes/b.wav": late}, cuts=cuts)
        for key, cut in zip((("train", "yes/a.wav"), ("test", "yes/b.wav")), cuts, strict=True):
            np.testing.assert_array_equal(got[key], one_clip(late, cut=cut).mel_power)


def test_each_clip_is_read_from_the_archive_of_its_split(chosen_features):
    clip, other = Clip("yes/ann_nohash_0.wav", "yes", "ann"), Clip("cat/bob_nohash_0.wav", "cat", "bob")
    chosen = [Chosen(other, "_unknown_", UNHEARD["test"])]
    chosen += [Chosen(clip, "yes", split) for split in ("train", "test")]
    chosen += [Chosen(other, "_unknown_", "validation")]
    own = {clip.name: wav(1), other.name: wav(2), "never/chosen.wav": b""}
    tested = {clip.name: wav(3), other.name: wav(4)}
    got = chosen_features(chosen, own, tested)
    wanted = {
        ("train", clip.name): 1,
        ("validation", other.name): 2,
        ("test", clip.name): 3,
        (UNHEARD["test"], other.name): 4,
    }
    assert set(got) == set(wanted)
    for key, seed in wanted.items():
        np.testing.assert_array_equal(got[key], one_clip(wav(seed)).mel_power)


def test_computed_voices_beside_people_are_read_from_their_own_archive():
    person, voice = Clip("yes/ann_nohash_0.wav", "yes", "ann"), Clip("_computed_/yes/v_nohash_0.wav", "yes", "v")
    source = replace(SOURCE, archive="own.tar", computed=replace(TEST_ARCHIVE, archive="computed.tar"))
    for archive, clip, seed in (("own.tar", person, 1), ("computed.tar", voice, 2)):
        paths.RAW.mkdir(parents=True, exist_ok=True)
        with tarfile.open(paths.RAW / archive, "w") as tar:
            info = tarfile.TarInfo(clip.name)
            info.size = len(wav(seed))
            tar.addfile(info, io.BytesIO(wav(seed)))
    chosen = [Chosen(clip, "yes", "train") for clip in (person, voice)]
    cut_of = {paths.RAW / archive: "start" for archive in ("own.tar", "computed.tar")}
    got = {clip.name: clip.mel_power for _, [clip] in compute_chosen(chosen, source, {}, FRONT_END, cut_of)}
    np.testing.assert_array_equal(got[person.name], one_clip(wav(1)).mel_power)
    np.testing.assert_array_equal(got[voice.name], one_clip(wav(2)).mel_power)


def test_without_a_test_data_set_all_splits_are_read_from_the_one_archive(chosen_features):
    names = {split: f"yes/{split}.wav" for split in ("train", "validation", "test")}
    chosen = [Chosen(Clip(name, "yes", name), "yes", split) for split, name in names.items()]
    got = chosen_features(chosen, {name: wav(seed) for seed, name in enumerate(names.values())}, None)
    for seed, key in enumerate(names.items()):
        np.testing.assert_array_equal(got[key], one_clip(wav(seed)).mel_power)


def test_clips_in_which_nobody_speaks_are_made_of_the_background_of_their_split(chosen_features):
    noises = {
        split: {"hiss": np.random.default_rng(seed).normal(size=32_000).astype(np.float32)}
        for seed, split in enumerate(("train", "validation", "test"))
    }
    speaks = Clip("yes/ann_nohash_0.wav", "yes", "ann")
    chosen = [Chosen(speaks, "yes", "train")]
    made = [(f"_silence_/{split}-00000", split) for split in ("train", "validation", "test")]
    chosen += [Chosen(Clip(name, "_silence_", NOBODY + name), "_silence_", split) for name, split in made]
    got = chosen_features(chosen, {speaks.name: wav(1)}, None, noises)
    assert set(got) == {("train", speaks.name)} | {(split, name) for name, split in made}
    for name, split in made:
        waveform = background.silence(name, noises[split], 16_000)
        with threadpool_limits(BLAS_THREADS):
            wanted = FRONT_END.with_margins(waveform)
        np.testing.assert_array_equal(got[split, name], wanted)


def test_made_clips_have_the_same_bytes_on_any_number_of_cores(chosen_features):
    noises = {"train": {"hiss": np.random.default_rng(0).normal(size=320_000).astype(np.float32)}}
    names = [f"_silence_/train-{number:05d}" for number in range(5)]
    chosen = [Chosen(Clip(name, "_silence_", NOBODY + name), "_silence_", "train") for name in names]
    got = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            got.append(chosen_features(chosen, {}, None, noises))
    for name in names:
        np.testing.assert_array_equal(got[0]["train", name], got[1]["train", name])


def test_a_speaker_who_is_called_nobody_is_heard_all_the_same(chosen_features):
    assert not any(map(background.is_nobody, ("nobody", "nobody/1.wav", "_silence_/nobody.wav")))
    assert background.is_nobody(NOBODY + "_silence_/test-00000")
    clip = Clip("nobody/yes_nohash_0.wav", "yes", "nobody")
    got = chosen_features([Chosen(clip, "yes", "train")], {clip.name: wav(5)}, None)
    np.testing.assert_array_equal(got["train", clip.name], one_clip(wav(5)).mel_power)
