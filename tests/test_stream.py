from collections.abc import Iterable

import numpy as np
import pytest
from conftest import make_front_end

from kws.evaluate import stream
from kws.evaluate.stream import StreamOutcome, simulate
from kws.recordings.manifest import Recording

FRONT_END = make_front_end(16_000, 16_000, 480, 320, 512, 40, 20.0, 7600.0, 1e-6)
CLASSES = ["low", "high", "_unknown_"]


def tone(hertz: float) -> np.ndarray:
    """A third of a second in the middle of a clip."""
    sound = np.zeros(16_000, np.float32)
    sound[5000:10_000] = np.sin(2 * np.pi * hertz * np.arange(5000) / 16_000)
    return sound


NOISES = {"hiss": np.random.default_rng(0).normal(size=32_000).astype(np.float32)}
WORDS = [
    Recording("low/300.wav", "ada", "low", "low", tone(300)),
    Recording("high/3000.wav", "ada", "high", "high", tone(3000)),
]


def knows_tones(clips: Iterable[np.ndarray]) -> np.ndarray:
    """A network that knows a tone in the middle of its window; anything else is unknown to it."""
    log_mel = np.stack(list(clips))
    frames = log_mel.shape[1]
    middle = log_mel[:, frames // 3 : frames * 2 // 3].mean(axis=1)
    loud = middle.max(axis=1) - np.median(middle, axis=1) > 3
    high = middle.argmax(axis=1) >= 20
    return np.stack([loud & ~high, loud & high, ~loud], axis=1).astype(np.float32)


def run(recordings, minutes=2, seed=1, words=("low", "high")) -> StreamOutcome:
    return simulate(
        knows_tones,
        recordings,
        NOISES,
        front_end=FRONT_END,
        classes=CLASSES,
        words=words,
        minutes=minutes,
        seed=seed,
    )


def test_words_are_found_where_they_are_and_nothing_else():
    outcome = run(WORDS)
    assert outcome.hours == pytest.approx(2 / 60)
    assert len(outcome.words) >= 20
    assert outcome.counts(0.5) == (0, 0, 0)
    assert run(WORDS).words.tolist() == outcome.words.tolist()
    assert run(WORDS, seed=2).words.tolist() != outcome.words.tolist()


def test_a_word_that_should_be_rejected_and_is_not_is_a_false_alarm():
    outcome = run([WORDS[0], Recording("_unknown_/3000.wav", "ada", "_unknown_", "_unknown_", tone(3000))])
    missed, wrong, false = outcome.counts(0.5)
    assert (missed, wrong) == (0, 0)
    assert false > 5


def test_a_word_taken_for_another_is_missed_and_wrong_but_no_false_alarm():
    outcome = run([Recording("low/3000.wav", "ada", "low", "low", tone(3000))])
    assert outcome.counts(0.5) == (len(outcome.words), len(outcome.words), 0)


def test_the_threshold_keeps_false_alarms_within_the_number_asked_for():
    outcome = StreamOutcome(
        10, np.array([0.9, 0.5, 0.0]), np.array([0.97]), np.array([0.2, 0.95, 0.4, 0.6], np.float32)
    )
    assert outcome.counts(outcome.threshold(0.1)) == (2, 1, 1)
    assert 0.6 < outcome.threshold(0.1) < 0.601
    assert outcome.counts(outcome.threshold(0.05)) == (3, 1, 0)
    assert outcome.threshold(1) == 0.0
    assert outcome.counts(0.0) == (1, 1, 4)  # a word that was never detected is missed at any threshold


def test_a_word_counts_once_and_only_near_its_time():
    detections = [(1.2, 0, 0.9), (2.1, 1, 0.8), (0.8, 0, 0.7), (3.0, 0, 0.6)]
    right, wrong, false = stream._compare(detections, [(1.0, 0), (2.0, 0)])
    assert right.tolist() == [0.9, 0.0]
    assert wrong.tolist() == [0.8]
    assert false.tolist() == [0.7, 0.6]  # 0.7 is the word of 0.9 again, to which a device would react twice


def test_a_word_that_is_detected_rightly_is_not_wrong_as_well():
    right, wrong, false = stream._compare([(1.0, 0, 0.9), (0.6, 1, 0.8)], [(1.0, 0)])
    assert (right.tolist(), wrong.tolist(), false.tolist()) == ([0.9], [], [])


def test_a_false_alarm_of_probability_1_is_above_no_threshold():
    outcome = StreamOutcome(1.0, np.array([1.0]), np.array([]), np.array([1.0, 1.0], np.float32))
    assert outcome.counts(outcome.threshold(0.5)) == (1, 0, 0)


def test_a_stretch_says_at_what_times_which_clips_start():
    rng = np.random.default_rng(0)
    silence = {"hiss": np.full(32_000, 1e-9, np.float32)}
    sound, script = stream._stretch(iter([WORDS[0]] * 99), silence["hiss"], FRONT_END, rng)
    assert len(sound) == 60 * 16_000
    start, label = script[0]
    assert label == "low"
    first = round(start * 16_000)
    assert np.abs(sound[first + 5000 : first + 10_000]).max() > 0.05
    gaps = np.diff([time for time, _ in script])
    assert gaps.min() >= 2
    assert gaps.max() <= 6
