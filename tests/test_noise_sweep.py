from collections.abc import Iterable

import numpy as np
import pytest
from conftest import make_front_end

from kws.evaluate import noise_sweep
from kws.evaluate.noise_sweep import SNR_DB, sweep
from kws.recordings.manifest import Recording

FRONT_END = make_front_end(16_000, 16_000, 480, 320, 512, 40, 20.0, 7600.0, 1e-6)
CLASSES = ["low", "high"]


def tone(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000).astype(np.float32) / 10


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=40_000).astype(np.float32)


RECORDINGS = [
    Recording("low/300.wav", "ada", "low", "low", tone(300)),
    Recording("high/3000.wav", "ada", "high", "high", tone(3000)),
] * 6


def louder_half(clips: Iterable[np.ndarray]) -> np.ndarray:
    """A network that hears in which half of the Mel bins the loudest one is."""
    high = np.stack(list(clips)).mean(axis=1).argmax(axis=1) >= 20
    return np.stack([~high, high], axis=1).astype(np.float32)


def run(noises) -> list[dict]:
    return sweep(louder_half, RECORDINGS, noises, front_end=FRONT_END, classes=CLASSES)


def test_every_clip_is_heard_once_at_every_ratio_with_the_backgrounds_in_equal_shares():
    noises = {"a": noise(0), "b": noise(1), "c": noise(2)}
    rows = run(noises)
    assert [row["snr_db"] for row in rows if row["noise"] == "all"] == list(SNR_DB)
    for snr in SNR_DB:
        clips = {row["noise"]: row["clips"] for row in rows if row["snr_db"] == snr}
        assert clips == {"all": 12, "a": 4, "b": 4, "c": 4}
    assert rows == run(noises)


def test_there_may_be_fewer_clips_than_backgrounds():
    noises = {name: noise(0) for name in "abc"}
    rows = sweep(louder_half, RECORDINGS[:2], noises, front_end=FRONT_END, classes=CLASSES)
    assert len(rows) == len(SNR_DB) * (1 + 2)


def test_tones_are_told_apart_in_faint_noise_and_not_under_a_loud_tone():
    rows = run({"whistle": np.tile(tone(3000), 3)})
    accuracy = {row["snr_db"]: row["accuracy"] for row in rows if row["noise"] == "all"}
    assert accuracy[20] == 1
    assert accuracy[-5] == 0.5  # all clips sound high


@pytest.mark.parametrize("snr", SNR_DB)
def test_the_noise_is_as_loud_as_the_ratio_says(snr):
    clip, background = tone(440), noise(3)
    added = noise_sweep._mix(clip, background, 0.5, snr) - clip
    assert 10 * np.log10(np.mean(clip**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.01)


def test_figures_are_those_over_all_backgrounds():
    row = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "clips": 10}
    rows = [{"snr_db": 0, "noise": "all", **row}, {"snr_db": 0, "noise": "tap", **row, "accuracy": 0.1}]
    assert noise_sweep.figures(rows) == {
        "noise_0db_accuracy": 0.9,
        "noise_0db_accuracy_low": 0.8,
        "noise_0db_accuracy_high": 0.95,
    }
