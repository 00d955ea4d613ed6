import weakref
from collections.abc import Iterable

import numpy as np
import pytest
from conftest import make_front_end

from kws.evaluate import conditions, noise_sweep
from kws.evaluate.noise_sweep import SNR_DB, NoiseOutcome, rows, sweep
from kws.recordings.manifest import Recording

FRONT_END = make_front_end(16_000, 16_000, 480, 320, 512, 40, 20.0, 7600.0, 1e-6)
CLASSES = ["low", "high"]


def tone(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000).astype(np.float32) / 10


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=40_000).astype(np.float32)


RECORDINGS = [
    Recording(f"{label}/{number}.wav", f"speaker {number % 4}", label, label, tone(hertz))
    for number in range(150)
    for label, hertz in (("low", 300), ("high", 3000))
]


def louder_half(clips: Iterable[np.ndarray]) -> np.ndarray:
    """A network that hears in which half of the Mel bins the loudest one is."""
    high = np.stack(list(clips)).mean(axis=1).argmax(axis=1) >= 20
    return np.stack([~high, high], axis=1).astype(np.float32)


def run(noises, recordings=RECORDINGS[:24], threads=2, **networks) -> NoiseOutcome:
    networks = networks or {"float32": louder_half}
    return sweep(networks, recordings, noises, front_end=FRONT_END, classes=CLASSES, threads=threads)


THREE = {"a": noise(0), "b": noise(1), "c": noise(2)}


def test_every_clip_is_heard_once_at_every_ratio_with_each_background_as_likely():
    table = rows(run(THREE, RECORDINGS), "float32")
    assert [row["snr_db"] for row in table if row["noise"] == "all"] == list(SNR_DB)
    for snr in SNR_DB:
        clips = {row["noise"]: row["clips"] for row in table if row["snr_db"] == snr}
        assert clips.pop("all") == sum(clips.values()) == 300
        assert clips.keys() == THREE.keys()
        assert min(clips.values()) > 75  # of 100; 3 standard deviations


def test_the_noise_under_a_clip_follows_from_its_name_alone():
    whole = run(THREE)
    assert run(THREE, threads=1).correct["float32"].tolist() == whole.correct["float32"].tolist()
    some = run(THREE, RECORDINGS[20:4:-1])
    assert some.noises.tolist() == whole.noises[20:4:-1].tolist()
    assert some.speakers.tolist() == whole.speakers[20:4:-1].tolist()
    assert some.correct["float32"].tolist() == whole.correct["float32"][20:4:-1].tolist()


def test_each_clip_is_measured_as_it_was_recorded_by_its_name():
    soft, loud = (Recording(name, "ada", "low", "low", level * tone(300)) for name, level in (("a", 0.1), ("b", 1.0)))
    sounds = run(THREE, [soft, loud]).sounds
    assert sounds == {clip.name: conditions.measure(clip.waveform, 16_000) for clip in (soft, loud)}
    assert sounds["b"].level - sounds["a"].level == pytest.approx(20, abs=0.01)


def test_the_clips_are_read_as_they_are_wanted_and_are_not_kept():
    gone: list[str] = []
    most = 0

    def passing() -> Iterable[Recording]:
        nonlocal most
        for number in range(1000):
            recording = Recording(f"{number}.wav", "ada", "low", "low", np.ones(16_000, np.float32))
            weakref.finalize(recording, gone.append, recording.name)
            most = max(most, number + 1 - len(gone))
            yield recording

    outcome = run(THREE, passing(), float32=lambda clips: np.zeros((len(clips), 2)))
    assert len(outcome.speakers) == 1000
    assert most < 300


def test_two_networks_hear_the_same():
    heard: dict[str, list[bytes]] = {"float32": [], "int8": []}

    def hearing(name):
        return lambda clips: (heard[name].extend(clip.tobytes() for clip in clips), louder_half(clips))[1]

    outcome = run(THREE, threads=1, float32=hearing("float32"), int8=hearing("int8"))
    assert heard["float32"] == heard["int8"]
    assert len(heard["int8"]) == 24 * len(SNR_DB)
    assert rows(outcome, "float32") == rows(outcome, "int8")


def test_there_may_be_fewer_clips_than_backgrounds():
    noises = {name: noise(0) for name in "abc"}
    table = rows(run(noises, RECORDINGS[:1]), "float32")
    assert len(table) == len(SNR_DB) * (1 + 1)


def test_tones_are_told_apart_in_faint_noise_and_not_under_a_loud_tone():
    table = rows(run({"whistle": np.tile(tone(3000), 3)}), "float32")
    accuracy = {row["snr_db"]: row["accuracy"] for row in table if row["noise"] == "all"}
    assert accuracy[20] == 1
    assert accuracy[-5] == 0.5  # all clips sound high


@pytest.mark.parametrize("snr", SNR_DB)
def test_the_noise_is_as_loud_as_the_ratio_says(snr):
    clip, background = tone(440), noise(3)
    added = noise_sweep._mix(clip, background, 0.5, snr) - clip
    assert 10 * np.log10(np.mean(clip**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.01)


def test_figures_are_those_over_all_backgrounds():
    row = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "clips": 10}
    table = [{"snr_db": 0, "noise": "all", **row}, {"snr_db": 0, "noise": "tap", **row, "accuracy": 0.1}]
    assert noise_sweep.figures(table) == {
        "noise_0db_accuracy": 0.9,
        "noise_0db_accuracy_low": 0.8,
        "noise_0db_accuracy_high": 0.95,
    }
