from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kws.spotting import detect
from kws.spotting.detect import Timing

TIMING = Timing(step_frames=4, step_samples=1280, held=3, apart=5)
AT_ONCE = replace(TIMING, held=1)
WORDS = (0, 2)
# few values, so that many are equal; class 1 is no word
PROBABILITIES = hnp.arrays(np.float32, st.tuples(st.integers(1, 60), st.just(3)), elements=st.integers(0, 4).map(float))
TIMINGS = st.builds(replace, st.just(TIMING), held=st.integers(1, 5), apart=st.integers(1, 9))
THRESHOLD = st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.5, 4.0, 5.0])


def plainly(probabilities: np.ndarray, timing: Timing, threshold: float) -> list[tuple[int, int, float]]:
    """The rule as docs/evaluation.md has it, one sentence after the other."""

    def score(window: int, word: int) -> float:
        return float(min(probabilities[max(0, window - timing.held + 1) : window + 1, word]))

    found: list[tuple[int, int, float]] = []
    for window in range(len(probabilities)):
        best = max(WORDS, key=lambda word: score(window, word))
        before = [at for at, word, _ in found if word == best]
        released = not before or any(score(at, best) < threshold for at in range(before[-1], window))
        paused = not found or window - found[-1][0] >= timing.apart
        if score(window, best) >= threshold and released and paused:
            found.append((window, best, score(window, best)))
    return found


def found(probabilities, timing=AT_ONCE, threshold=0.5):
    return [(one.window, one.word, one.score) for one in detect.detections(probabilities, WORDS, timing, threshold)]


def word(*values: float) -> np.ndarray:
    """Windows in which class 0 has these probabilities."""
    return np.array([[value, 1 - value, 0] for value in values], np.float32)


@settings(deadline=None)
@given(PROBABILITIES, TIMINGS, THRESHOLD)
def test_windows_as_they_come_give_what_the_plain_definition_gives(probabilities, timing, threshold):
    assert found(probabilities, timing, threshold) == plainly(probabilities, timing, threshold)


@settings(deadline=None)
@given(PROBABILITIES, TIMINGS, THRESHOLD)
def test_the_fast_form_of_the_evaluation_detects_the_same(probabilities, timing, threshold):
    scores = detect.lowest(probabilities[:, list(WORDS)], timing.held)
    fast = [
        (window, WORDS[word], float(scores[window, word]))
        for window, word in detect.detected(scores, timing, threshold)
    ]
    assert fast == found(probabilities, timing, threshold)


def test_a_word_is_told_before_the_next_window_is_heard():
    heard = []

    def windows():
        for number, window in enumerate(word(0, 0, 1, 1, 1, 1, 1)):
            heard.append(number)
            yield window

    first = next(detect.detections(windows(), WORDS, TIMING, 0.5))
    assert first.window == heard[-1] == 4  # the third one that holds the word


def test_a_word_has_to_be_held():
    assert found(word(0, 1, 1, 0, 1, 1, 0, 0.75, 0.5, 1, 1), TIMING) == [(9, 0, 0.5)]


def test_at_the_start_as_many_windows_count_as_there_are():
    assert found(word(0.75, 1, 1), TIMING) == [(0, 0, 0.75)]
    assert found(word(0.25, 1, 1, 1), TIMING) == [(3, 0, 1.0)]


def test_after_a_detection_there_is_a_pause_for_all_words():
    probabilities = word(1, 0, 1, 0, 0, 0, 1, 0)
    probabilities[3:6, 2] = 1
    assert found(probabilities, replace(AT_ONCE, apart=2)) == [(0, 0, 1.0), (2, 0, 1.0), (4, 2, 1.0), (6, 0, 1.0)]
    assert found(probabilities) == [(0, 0, 1.0), (5, 2, 1.0)]  # five windows later it still is there


def test_a_word_that_stays_is_detected_once():
    assert found(word(*[1] * 40)) == [(0, 0, 1.0)]
    assert found(word(*[1] * 10, 0.25, *[1] * 10)) == [(0, 0, 1.0), (11, 0, 1.0)]


def test_a_word_below_another_one_is_not_detected_until_it_is_the_highest():
    probabilities = np.array([[0.5, 0, 0.75]] * 7 + [[0.75, 0, 0.5]] * 7, np.float32)
    assert found(probabilities, AT_ONCE, 0.4) == [(0, 2, 0.75), (7, 0, 0.75)]


def test_only_words_are_detected_and_the_lowest_probabilities_of_all_classes_are_told():
    probabilities = np.array([[0.2, 0.8, 0], [0.3, 0.6, 0.1], [0.25, 0.7, 0.05]])
    *_, last = detect.detections(probabilities, WORDS, replace(TIMING, apart=1), 0.2)
    assert (last.window, last.word, last.score) == (0, 0, 0.2)
    [later] = detect.detections(np.concatenate([[[0, 1, 0]], probabilities]), WORDS, TIMING, 0.15)
    assert later.window == 3
    assert later.probabilities.tolist() == [0.2, 0.6, 0.0]


def test_no_window_no_detection():
    assert found(np.zeros((0, 3))) == []
    assert detect.detected(np.zeros((0, 3)), TIMING, 0.0) == []


@pytest.mark.parametrize(
    ("clip_samples", "hop_length", "timing"),
    [
        (16_000, 320, (4, 1280, 5, 13)),
        (16_000, 160, (8, 1280, 5, 13)),
        (16_000, 256, (8, 2048, 3, 8)),
        (8000, 160, (4, 640, 5, 13)),
        (24_000, 320, (8, 2560, 4, 10)),
        (32_000, 320, (8, 2560, 5, 13)),
        (48_000, 320, (16, 5120, 4, 10)),
        (8000, 1000, (4, 4000, 2, 2)),  # long frames: half a clip from one window to the next
        (8000, 4000, (2, 8000, 1, 1)),  # never more than a clip, or some sound would be in no window
    ],
)
def test_all_times_follow_the_length_of_a_clip(clip_samples, hop_length, timing):
    assert Timing.of(clip_samples, hop_length) == Timing(*timing)
