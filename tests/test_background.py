import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_front_end
from encode import sound_file
from threadpoolctl import threadpool_limits

from kws.audio.formats import is_sound
from kws.core.naming import BACKGROUND
from kws.recordings import archive, background
from kws.recordings.clips import HOUSEHOLD, SPLITS, Clip
from kws.recordings.parts import part_of

RATE = 16_000
FRONT_END = make_front_end(RATE, RATE, 400, 160, 512, 40, 60.0, 7600.0, 1e-7)
ANY_LENGTH = make_front_end(RATE, 1600, 400, 160, 512, 40, 60.0, 7600.0, 1e-7)  # no part is too short for its clips


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def hiss(seed: int, samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def whole(parts: background.Background) -> dict[str, np.ndarray]:
    """The recordings, put together from their splits."""
    return {name: np.concatenate([parts[split][name] for split in SPLITS]) for name in parts["train"]}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """What is read of an archive with these files, whole and at 16 kHz, and the remarks on it."""
    monkeypatch.chdir(tmp_path)

    def run(files: dict[str, bytes]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        with tarfile.open(tmp_path / "set.tar", "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        clips = [Clip(name, name.split("/")[0], name) for name in files if is_sound(name, files[name])]
        parts, remarks = background.read_background(tmp_path / "set.tar", clips, ANY_LENGTH)
        return whole(parts), remarks

    return run


def test_the_recordings_of_the_folder_background_noise_are_read(read):
    files = {"yes/ann_nohash_0.wav": wav(hiss(0, RATE)), "_background_noise_/README.md": b"noises"}
    files |= {"_background_noise_/tap.wav": wav(hiss(1, 3 * RATE)), "_background_noise_/cat.wav": wav(hiss(2, RATE))}
    recordings, remarks = read(files)
    assert set(recordings) == {"tap", "cat"}
    assert remarks == {}
    np.testing.assert_array_equal(recordings["tap"], hiss(1, 3 * RATE))


def test_they_are_resampled_and_may_be_longer_than_a_clip_may(read):
    recordings, _ = read({"yes/a.wav": b"", "_background_noise_/tap.wav": wav(hiss(1, 61 * 8000), 8000)})
    assert {name: len(samples) for name, samples in recordings.items()} == {"tap": 61 * RATE}


def test_they_are_read_in_any_format_and_in_any_folder_below(read):
    recordings, remarks = read(
        {
            "_background_noise_/cafe/1.m4a": sound_file("m4a", hiss(0, 2 * RATE), RATE),
            "_background_noise_/street/1.webm": sound_file("webm", hiss(1, 2 * RATE), RATE),
            "_background_noise_/street/rain.mp3": sound_file("mp3", hiss(2, 2 * RATE), RATE),
        }
    )
    # two that are called alike keep their folders
    assert set(recordings) == {"_background_noise_/cafe/1.m4a", "_background_noise_/street/1.webm", "rain"}
    assert all(len(samples) >= 2 * RATE for samples in recordings.values())
    assert remarks == {}


def test_all_of_many_that_are_called_alike_are_kept(read):
    """As in DEMAND, where each room is a folder with `ch01.wav` in it."""
    rooms = ["DKITCHEN", "DLIVING", "DWASHING", "NFIELD", "NPARK"]
    files = {f"_background_noise_/{room}/ch01.wav": wav(hiss(n, 2 * RATE)) for n, room in enumerate(rooms)}
    recordings, remarks = read(files)
    assert set(recordings) == set(files)
    for number, name in enumerate(files):
        np.testing.assert_array_equal(recordings[name], hiss(number, 2 * RATE))
    assert remarks == {}


def test_of_a_long_one_the_first_ten_minutes_are_used_and_that_is_said(read):
    recordings, remarks = read({"_background_noise_/tap.wav": wav(hiss(0, 601_000), 1000)})
    assert len(recordings["tap"]) == 600 * RATE
    assert remarks == {"_background_noise_/tap.wav": "cut: only the first 600 s are used"}


def test_what_was_mended_is_said(read):
    inverted = np.stack([hiss(0, RATE), -hiss(0, RATE)], axis=1)
    recordings, remarks = read({"_background_noise_/tap.wav": wav(inverted)})
    np.testing.assert_array_equal(recordings["tap"], hiss(0, RATE))
    assert remarks == {"_background_noise_/tap.wav": "channel 1 of 2 alone: the channels cancel each other"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"a text", "not audio: "),
        (wav(np.zeros(RATE, np.float32)), "silent: every sample is zero"),
    ],
)
def test_one_that_cannot_be_used_is_said_and_the_others_are_used(read, data, reason):
    files = {"_background_noise_/tap.wav": data, "_background_noise_/cat.wav": wav(hiss(1, RATE))}
    recordings, remarks = read(files)
    assert set(recordings) == {"cat"}
    assert remarks.keys() == {"_background_noise_/tap.wav"}
    assert remarks["_background_noise_/tap.wav"].startswith(f"not used: {reason}")
    recordings, again = read({"_background_noise_/tap.wav": data})
    assert set(recordings) == {"white_noise", "pink_noise", "brown_noise"}
    assert again == remarks


def test_one_that_is_too_large_is_said(read, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 20_000)
    _, remarks = read({"yes/a.wav": b"", "_background_noise_/tap.wav": wav(hiss(0, RATE))})
    assert remarks == {"_background_noise_/tap.wav": "not used: larger than 268,435,456 bytes"}


def test_without_recordings_there_are_generated_noises(read):
    (made, remarks), again = read({"yes/a.wav": b""}), background.generated(RATE)
    assert remarks == {}
    assert set(made) == {"white_noise", "pink_noise", "brown_noise"}
    for name, samples in made.items():
        assert (samples.dtype, len(samples)) == (np.float32, 60 * RATE)
        assert np.mean(np.square(samples)) == pytest.approx(1e-2, rel=1e-3)
        np.testing.assert_array_equal(samples, again[name])


DAYS = """
import resource
import sys
import tracemalloc
from pathlib import Path

import numpy as np

from kws.audio.decode import Sound
from kws.recordings import background
from kws.recordings.clips import Clip
sys.path.insert(0, sys.argv[2])
from conftest import make_front_end

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
front_end = make_front_end(16_000, 16_000, 480, 320, 512, 8, 60.0, 7600.0, 1e-7)
names = [f"_background_noise_/{number}.wav" for number in range(1000)]
background.read_members = lambda *_: ((name, name.encode()) for name in names)
background.decode_recording = lambda data, *_, **__: Sound(np.full(100_000, int(data[19:-4]), np.float32))
tracemalloc.start()
clips = [Clip(name, "_background_noise_", name) for name in names]
parts, remarks = background.read_background(Path(sys.argv[1]), clips, front_end)
power = sum(1 for _ in background.mel_power(parts, front_end))
silent = [background.silence(str(number), parts["test"], 16_000) for number in range(300)]
assert all(parts["validation"][name][0] == int(name) for name in parts["validation"])
print(len(parts["train"]), power, len(silent), tracemalloc.get_traced_memory()[1] < 40e6)
"""


def test_a_thousand_recordings_take_neither_open_files_nor_memory(tmp_path):
    """They have 400 MB as float32; the 300 clips of silence have 19."""
    command = [sys.executable, "-c", DAYS, str(tmp_path / "set.tar"), str(Path(__file__).parent)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["1000", "3000", "300", "True"], "")
    assert list((tmp_path / ".scratch" / "background").iterdir()) == []


@pytest.mark.parametrize(("name", "slope"), [("white_noise", 0), ("pink_noise", -10), ("brown_noise", -20)])
def test_generated_noises_fall_with_frequency_as_their_colour_says(name, slope):
    samples = background.generated(8000)[name]
    power = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / 8000)
    low, high = (10 * np.log10(power[(hertz > f) & (hertz < 1.1 * f)].mean()) for f in (100, 1000))
    assert high - low == pytest.approx(slope, abs=0.5)  # dB a decade


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 99, 160_000, 960_001])
def test_each_moment_of_a_recording_belongs_to_one_split(length):
    recording = np.arange(length, dtype=np.float32)
    parts = [part_of(recording, split, 0) for split in SPLITS]
    np.testing.assert_array_equal(np.concatenate(parts), recording)
    for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert abs(len(part) - share * length) <= 1


def test_a_part_that_is_shorter_than_a_clip_comes_again():
    part = part_of(np.arange(100, dtype=np.float32), "test", 25)
    assert part.tolist() == [*range(90, 100), *range(90, 100), *range(90, 95)]


def power_of(recordings: dict[str, np.ndarray], front_end) -> dict[str, dict[str, np.ndarray]]:
    """Mel power by split and name."""
    parts = {
        split: {
            name: background.part_of(samples, split, front_end.clip_samples) for name, samples in recordings.items()
        }
        for split in SPLITS
    }
    power: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
    for split, name, part in background.mel_power(parts, front_end):
        power[split][name] = part
    return power


def test_each_split_has_the_mel_power_of_its_part():
    recordings = {"long": hiss(0, 20 * RATE), "short": hiss(2, 5 * RATE)}
    power = power_of(recordings, FRONT_END)
    assert {split: set(parts) for split, parts in power.items()} == {split: {"long", "short"} for split in SPLITS}
    assert power["test"]["short"].shape == (FRONT_END.frames, 40)
    validation = FRONT_END.mel_power(recordings["long"][16 * RATE : 18 * RATE])
    np.testing.assert_allclose(power["validation"]["long"], validation, rtol=1e-4)
    assert power["train"]["short"].dtype == np.float32


def test_mel_power_of_the_background_has_the_same_bytes_on_any_number_of_cores():
    front_end = make_front_end(
        RATE, RATE, 1024, 256, 1024, 80, 20.0, 7600.0, 1e-7
    )  # large enough to be shared among them
    made = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            made.append(power_of({"hiss": hiss(0, 20 * RATE)}, front_end))
    for split in SPLITS:
        np.testing.assert_array_equal(made[0][split]["hiss"], made[1][split]["hiss"])


SAMPLES = 200
TIMELINES = [np.arange(1, 5001, dtype=np.float32), np.arange(10_001, 13_001, dtype=np.float32)]  # samples tell the time


def silences(split: str, recordings=TIMELINES, clips: int = 1000) -> np.ndarray:
    parts = {str(number): background.part_of(one, split, SAMPLES) for number, one in enumerate(recordings)}
    made = [background.silence(f"_silence_/{split}-{n:05d}", parts, SAMPLES) for n in range(clips)]
    assert {clip.dtype for clip in made} == {np.dtype(np.float32)}
    return np.stack(made).astype(np.float64)


@pytest.mark.parametrize("split", SPLITS)
def test_silence_is_a_stretch_of_the_background_of_its_split_at_any_level_or_faint_noise_or_zeros(split):
    clips = silences(split)
    zeros = ~clips.any(axis=1)
    steps = np.diff(clips, axis=1)
    straight = ~zeros & (np.ptp(steps, axis=1) < 1e-3 * np.abs(clips).max(axis=1))
    faint = ~zeros & ~straight
    assert zeros.mean() == pytest.approx(0.05, abs=0.02)
    assert faint.mean() == pytest.approx(0.1, abs=0.03)

    for kind, highest in ((straight, -10), (faint, -10 + 20 * np.log10(0.03))):
        decibels = 10 * np.log10(np.mean(np.square(clips[kind]), axis=1))
        assert highest - 51 < decibels.min() < highest - 44
        assert highest - 6 < decibels.max() < highest + 1

    gain = (clips[straight, -1] - clips[straight, 0]) / (SAMPLES - 1)
    first = np.round(clips[straight, 0] / gain).astype(int)
    allowed = [part_of(timeline, split, SAMPLES) for timeline in TIMELINES]
    where = [(part[0] <= first) & (first + SAMPLES - 1 <= part[-1]) for part in allowed]
    assert (where[0] | where[1]).all()
    for part, inside in zip(allowed, where, strict=True):
        assert 0.4 < inside.mean() < 0.6
        spread = len(part) - SAMPLES
        assert first[inside].min() <= part[0] + 0.1 * spread
        assert first[inside].max() >= part[-1] - SAMPLES - 0.1 * spread


def test_silence_follows_from_its_name_alone():
    one, again, other = (background.silence(name, {"a": TIMELINES[0]}, SAMPLES) for name in ("a/1", "a/1", "a/2"))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_recorders_zeros_in_a_background_stay_zeros():
    clips = silences("train", [np.zeros(5000, np.float32)], clips=100)
    assert np.isfinite(clips).all()
    assert (~clips.any(axis=1)).mean() > 0.8


def test_what_was_heard_is_whole_in_training_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"tap": "_background_noise_/tap.wav", "1": "_background_noise_/heard-2026-05-31/1.flac"}
    sounds = {"tap": hiss(1, 3 * RATE), "1": hiss(2, RATE)}

    def read_of(*chosen: str) -> background.Background:
        with tarfile.open("set.tar", "w") as tar:
            for name in chosen:
                info = tarfile.TarInfo(names[name])
                info.size = len(wav(sounds[name]))
                tar.addfile(info, io.BytesIO(wav(sounds[name])))
        clips = [Clip(names[name], BACKGROUND, HOUSEHOLD if name == "1" else "") for name in chosen]
        return background.read_background(Path("set.tar"), clips, ANY_LENGTH)[0]

    parts = read_of("tap", "1")
    assert {split: set(parts[split]) for split in SPLITS} == {
        "train": {"tap", "1"},
        "validation": {"tap"},
        "test": {"tap"},
    }
    np.testing.assert_array_equal(parts["train"]["1"], sounds["1"])
    alone = read_of("1")  # computed noises stand in where nothing was recorded
    assert set(alone["train"]) - set(alone["test"]) == {"1"}
    assert set(alone["test"]) == set(alone["validation"]) == set(background.SLOPES)
