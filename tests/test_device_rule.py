"""The rule of devices, held against the definition, slice by slice."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kws.spotting.device_rule import cutoff_of, detections, device_input, probability_of


def by_definition(scores, step, cutoff, size):
    """Slice by slice: a ring of scores, and a count of slices that are still ignored."""
    ring, place, ignored, untold, found = [0] * size, 0, -100, False, []
    for moment in range(step * len(scores)):
        if (moment + 1) % step == 0:
            place = (place + 1) % size
            ring[place] = int(scores[moment // step])
            untold = True
        if ring[place] < cutoff:
            ignored = min(ignored + 1, 0)
        if untold and ignored == 0:
            untold = False
            if sum(ring) > cutoff * size:
                found.append(moment)
                ring, ignored = [0] * size, -100
    return found


# bursts, as networks give them: most scores are low, some stretches are high
bursts = st.lists(st.tuples(st.integers(0, 255), st.integers(1, 60)), max_size=30).map(
    lambda parts: np.repeat(*np.array(parts, int).reshape(-1, 2).T).astype(np.uint8)
)


@given(scores=bursts, step=st.integers(1, 4), cutoff=st.integers(1, 254), size=st.sampled_from([1, 2, 3, 5, 8, 12, 16]))
@example(scores=np.full(200, 255, np.uint8), step=3, cutoff=200, size=5)  # never below the cutoff: never heard
@example(scores=np.repeat([0, 255, 0, 255], [40, 5, 60, 5]).astype(np.uint8), step=3, cutoff=128, size=5)
@example(scores=np.repeat([250, 0, 250], [3, 28, 8]).astype(np.uint8), step=4, cutoff=100, size=8)
def test_it_is_the_definition(scores, step, cutoff, size):
    assert detections(scores, step=step, cutoff=cutoff, size=size) == by_definition(scores, step, cutoff, size)


def test_a_word_is_told_once_and_as_soon_as_the_mean_is_above():
    scores = np.zeros(200, np.uint8)
    scores[100:130] = 255  # a long word
    assert detections(scores, step=3, cutoff=127, size=5) == [3 * 103 - 1]  # three of five are enough
    assert detections(scores, step=3, cutoff=204, size=5) == [3 * 105 - 1]  # 4 of 5 are 204: not above it
    assert detections(scores, step=3, cutoff=203, size=5) == [3 * 104 - 1]


def test_the_first_second_and_the_one_after_a_detection_are_not_heard():
    scores = np.zeros(300, np.uint8)
    scores[[10, 11, 12]] = 255
    assert detections(scores, step=3, cutoff=100, size=2) == []
    scores[[100, 101, 120, 121, 160, 161]] = 255
    assert detections(scores, step=3, cutoff=100, size=2) == [3 * 101 - 1, 3 * 161 - 1]


def test_features_become_bytes_as_esphome_makes_them():
    whole = np.arange(700)
    expected = [max(-128, min(127, (number * 256 + 333) // 666 - 128)) for number in whole]
    given = device_input((whole * 0.0390625).astype(np.float32))
    assert given.dtype == np.int8
    assert given.tolist() == expected
    assert device_input(np.array([[0.0, 26.0]])).tolist() == [[-128, 127]]
    # the scale that the network is made with: no more than a step off
    assert np.abs(given[:664] - (np.rint(whole[:664] * 0.0390625 / (26 / 255)) - 128)).max() <= 1


@pytest.mark.parametrize("cutoff", range(1, 255))
def test_a_cutoff_survives_the_manifest(cutoff):
    probability = probability_of(cutoff)
    assert cutoff_of(probability) == cutoff
    assert cutoff_of(float(f"{probability:g}")) == cutoff
    assert cutoff_of(probability - 1e-4) < cutoff
