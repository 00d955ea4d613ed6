import re
from itertools import pairwise

import numpy as np
import pytest

from kws.evaluate import conditions
from kws.evaluate.answers import Answers
from kws.evaluate.conditions import BINS, Sound, measure

RATE = 16_000


def word(dbfs: float, seconds: float, floor_dbfs: float, *, clip_seconds: float = 1.0) -> np.ndarray:
    """Noise between 300 and 3000 Hz as loud as this, in the middle of softer noise; powers are those of the band."""
    rng = np.random.default_rng(1)
    frequency = np.fft.rfftfreq(round(clip_seconds * RATE), 1 / RATE)
    spectra = [(frequency > 300) * (frequency < 3000) * np.fft.rfft(rng.normal(size=round(clip_seconds * RATE)))] * 2
    loud, soft = (sound / np.sqrt(np.mean(sound**2)) for sound in map(np.fft.irfft, spectra))
    start = round((clip_seconds - seconds) / 2 * RATE)
    sound = 10 ** (floor_dbfs / 20) * soft
    sound[start : start + round(seconds * RATE)] += (10 ** (dbfs / 20) * loud)[start : start + round(seconds * RATE)]
    return sound.astype(np.float32)


@pytest.mark.parametrize(("dbfs", "seconds", "floor"), [(-20, 0.4, -60), (-35, 0.6, -70), (-45, 0.2, -65)])
def test_level_ratio_and_length_of_a_word_in_noise(dbfs, seconds, floor):
    sound = measure(word(dbfs, seconds, floor), RATE)
    assert sound.level == pytest.approx(dbfs, abs=1)
    assert sound.snr == pytest.approx(dbfs - floor, abs=3)  # the floor is the softest fifth: below the mean of noise
    assert sound.length == pytest.approx(seconds, abs=0.05)


def test_the_zeros_that_pad_a_short_recording_change_nothing():
    short = word(-25, 0.3, -55, clip_seconds=0.6)
    padded = np.concatenate([short, np.zeros(6400, np.float32)])
    assert measure(padded, RATE) == measure(short, RATE)


def test_of_two_words_the_length_is_that_of_the_one_with_more_energy():
    two = np.concatenate([word(-30, 0.2, -60), word(-20, 0.35, -60)])
    assert measure(two, RATE).length == pytest.approx(0.35, abs=0.05)


def test_where_no_speech_is_found_there_is_no_length():
    even = measure(np.random.default_rng(0).normal(scale=0.01, size=RATE).astype(np.float32), RATE)
    assert np.isnan(even.length)
    assert even.snr < 6
    zeros = measure(np.zeros(RATE, np.float32), RATE)
    assert (zeros.level, zeros.snr) == (-np.inf, 0)
    assert np.isnan(zeros.length)


def test_the_names_of_the_bins_say_where_they_begin_and_end():
    for bins in BINS.values():
        for (name, start), (following, end) in pairwise(bins.items()):
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", f"{name}".replace("_to_", " "))]
            assert (start if len(numbers) > 1 else numbers[-1]) == numbers[0], name
            upper = numbers[-1] + 1 if bins is BINS["speaker"] else numbers[-1]  # whole numbers: 2 to 4, then 5 to 9
            assert upper == end == float(re.findall(r"-?[\d.]+", following)[0]), name


def answers_of(correct, speakers) -> Answers:
    clips = len(correct)
    right = np.where(correct, 0, 1)
    return Answers(
        names=np.array([f"{number}.wav" for number in range(clips)]),
        speakers=np.array(speakers),
        labels=np.zeros(clips, int),
        probabilities=np.eye(2, dtype=np.float32)[right],
        embeddings=np.zeros((clips, 1), np.float32),
    )


def test_every_clip_is_in_one_bin_of_each_condition_with_its_answer():
    answers = answers_of([True, False, True, True, False], ["ada", "ada", "bob", "eve", "silence"])
    sounds = {
        "0.wav": Sound(-40.0, 19.9, 0.25),
        "1.wav": Sound(-40.1, 20.0, 0.2),
        "2.wav": Sound(-10.0, 60.0, 0.8),
        "3.wav": Sound(-np.inf, 2.0, np.nan),
    }
    table = conditions.rows(answers, sounds)  # 4.wav is of silence: it was not measured
    found = {(row["condition"], row["bin"]): (row["accuracy"], row["clips"]) for row in table}
    assert found == {
        ("level", "below_-40dbfs"): (0.5, 2),
        ("level", "-40_to_-30dbfs"): (1, 1),
        ("level", "above_-20dbfs"): (1, 1),
        ("snr", "below_20db"): (1, 2),
        ("snr", "20_to_30db"): (0, 1),
        ("snr", "above_50db"): (1, 1),
        ("length", "below_0.25s"): (0, 1),
        ("length", "0.25_to_0.5s"): (1, 1),
        ("length", "above_0.75s"): (1, 1),
        ("length", "not_found"): (1, 1),
        ("speaker", "1_clip"): (1, 2),
        ("speaker", "2_to_4_clips"): (0.5, 2),
    }
    assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in table)
    figures = conditions.figures(table)
    assert figures["level_below_-40dbfs_accuracy"] == 0.5
    assert figures["speaker_1_clip_accuracy_high"] == 1
    assert not [name for name in figures if "not_found" in name]


def test_clips_of_silence_alone_have_no_conditions():
    assert conditions.rows(answers_of([True], ["nobody"]), {}) == []
