"""When ESPHome's `micro_wake_word` detects a word. Thresholds for devices are chosen under this rule, not under ours.

A device computes a slice of features each 10 ms, and asks the network each few slices. The score is a byte. The mean of
the newest scores must be above the cutoff. For 100 slices after the start, and after each detection, nothing is
detected. A slice counts only while the newest score is below the cutoff, so that one word is told once. Source: the
component `micro_wake_word` of ESPHome 2026.6.5, files streaming_model.cpp and micro_wake_word.cpp.
"""

import math

import numpy as np

SLICES_A_SECOND = 100
IGNORED_SLICES = 100  # after the start, and after each detection
HIGHEST_SCORE = 255
HIGHEST_FEATURE = 26.0  # what a byte holds; louder sound is clipped


def device_input(features: np.ndarray) -> np.ndarray:
    """What ESPHome gives the network: features (…), 0 to about 26, as int8 of the same shape.

    The features are whole numbers, 0 to about 670, times 10/256. ESPHome divides by 666/256 in whole numbers, whatever
    scale the network's file names; a step is very nearly 26/255. Too loud sound is clipped.
    """
    whole = np.rint(features * (256 / 10)).astype(np.int32)
    return np.clip((whole * 256 + 333) // 666 - 128, -128, 127).astype(np.int8)


def cutoff_of(probability: float) -> int:
    """The cutoff that a device compares with, for the `probability_cutoff` of a manifest: 0 to 255."""
    return int(probability * HIGHEST_SCORE)


def probability_of(cutoff: int) -> float:
    """The lowest `probability_cutoff`, of four decimals, that a device takes for this cutoff."""
    return math.ceil(cutoff / HIGHEST_SCORE * 1e4) / 1e4


def detections(scores: np.ndarray, *, step: int, cutoff: int, size: int) -> list[int]:
    """The slices, from 0, in which a device detects the word.

    Args:
        scores: uint8 (inferences,), from the start.
        step: slices an inference.
        cutoff: 1 to 254, as `cutoff_of` gives it.
        size: scores whose mean is taken, `sliding_window_size`; so few that they fit into the ignored slices.
    """
    sums = np.cumsum(np.concatenate([np.zeros(size, np.int64), scores]))
    [above] = np.nonzero(sums[size:] - sums[:-size] > cutoff * size)  # inferences
    newest = np.concatenate([np.zeros(step - 1, np.uint8), np.repeat(scores, step)])[: step * len(scores)]
    below = np.concatenate([[0], np.cumsum(newest < cutoff)])  # of the slices before each one

    found: list[int] = []
    start = 0  # the first slice after the start, or after a detection
    while True:
        until = start + (step - 1 - start) % step  # the next inference; the score is 0 before it
        missing = IGNORED_SLICES - (until - start)
        ready = int(np.searchsorted(below, below[min(until, len(newest))] + missing)) - 1
        place = np.searchsorted(above, (ready + 1) // step - 1)  # the newest inference then is looked at, too
        if ready >= len(newest) or place == len(above):
            return found
        found.append(max(ready, step * (int(above[place]) + 1) - 1))
        start = found[-1] + 1
