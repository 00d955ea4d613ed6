from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kws.spotting import detect
from kws.spotting.detect import Timing

TIMING = Timing.of(16_000, 256)  # reaches ten windows to each side
UNSMOOTHED = replace(TIMING, smoothed=1)


def of_a_whole_recording(scores: np.ndarray, threshold: float = 0.0) -> list[tuple[int, int, float]]:
    """The rule as one would write it down: the highest first, and nothing within a clip's length, a second, of it."""
    best, word = scores.max(axis=1), scores.argmax(axis=1)
    left, taken = [], np.zeros(len(scores), bool)
    for index in np.argsort(-best, kind="stable"):
        if not taken[index] and best[index] >= threshold:
            left.append((int(index), int(word[index]), float(best[index])))
            taken |= np.abs(np.arange(len(scores)) - index) * TIMING.step_samples < 16_000
    return sorted(left)


def found(scores, threshold=0.0, words=(0, 1)):
    detections = detect.detections(scores, words, UNSMOOTHED, threshold)
    return [(one.window, one.word, one.score) for one in detections]


# few values, so that many are equal
@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 60), st.just(2)), elements=st.integers(0, 9).map(float)),
    st.integers(0, 9),
)
def test_windows_as_they_come_give_what_the_whole_recording_gives(scores, threshold):
    assert found(scores, threshold) == of_a_whole_recording(scores, threshold)


def test_of_detections_that_are_near_each_other_the_highest_stays():
    scores = np.zeros((20, 2))
    scores[3, 0], scores[5, 1], scores[16, 0] = 0.5, 0.9, 0.4
    assert found(scores, 0.1) == [(5, 1, 0.9), (16, 0, 0.4)]


@pytest.mark.parametrize(("timing", "needed"), [(UNSMOOTHED, 10), (TIMING, 12)])
def test_a_detection_is_told_as_soon_as_no_later_window_can_change_it_and_says_when(timing, needed):
    heard = 0

    def windows():
        nonlocal heard
        for number in range(40):
            heard = number
            yield np.array([0.875 if number == 5 else 0.125, 0.0])

    first = next(detect.detections(windows(), [0], timing, 0.2))
    assert first.window == (5 if timing.smoothed == 1 else 3)  # of equal averages the first
    assert heard == first.reported == first.window + needed


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 60), st.just(2)), elements=st.integers(0, 9).map(float)),
    st.integers(0, 9),
)
def test_a_threshold_leaves_detections_out_and_changes_no_other_one_nor_when_it_is_told(scores, threshold):
    """So the evaluation, which has all detections at once, measures what listening at any threshold gives."""

    def told(threshold):
        return [(one.window, one.score, one.reported) for one in detect.detections(scores, [0, 1], TIMING, threshold)]

    assert told(threshold) == [one for one in told(0.0) if one[1] >= threshold]


def test_only_words_are_detected_and_all_probabilities_are_told():
    scores = np.array([[0.2, 0.7, 0.1]] * 3)
    [detection] = detect.detections(scores, [0, 2], TIMING)
    assert (detection.word, detection.score) == (0, 0.2)
    assert detection.probabilities.tolist() == [0.2, 0.7, 0.1]


def test_no_window_no_detection():
    assert found(np.zeros((0, 2))) == []


@pytest.mark.parametrize("windows", [1, 2, 3, 4, 5, 6, 50])
def test_each_window_is_averaged_with_two_on_each_side_and_the_ends_count_for_those_beyond(windows):
    values = np.random.default_rng(0).uniform(size=(windows, 3)).astype(np.float32)
    newest, averaged = zip(*detect.smooth(values, 5), strict=True)
    assert newest == tuple(min(number + 2, windows - 1) for number in range(windows))
    around = np.pad(values, ((2, 2), (0, 0)), mode="edge")
    expected = np.stack([around[number : number + 5].mean(axis=0) for number in range(windows)])
    np.testing.assert_allclose(averaged, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("clip_samples", "hop_length", "timing"),
    [
        (16_000, 256, (6, 1536, 5, 11)),
        (16_000, 320, (5, 1600, 5, 10)),  # a second: as it was when all times were constants
        (16_000, 160, (10, 1600, 5, 10)),
        (8000, 160, (5, 800, 5, 10)),
        (24_000, 320, (8, 2560, 5, 10)),
        (32_000, 320, (10, 3200, 5, 10)),
        (48_000, 320, (15, 4800, 5, 10)),
        (8000, 4000, (1, 4000, 1, 2)),  # long frames: no window lies within a quarter of a clip of another
        (4000, 4000, (1, 4000, 1, 1)),
    ],
)
def test_all_times_follow_the_length_of_a_clip(clip_samples, hop_length, timing):
    assert Timing.of(clip_samples, hop_length) == Timing(*timing)
