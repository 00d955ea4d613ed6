"""Detects words from the probabilities of a sliding window. Evaluation and use share this code.

The probabilities of neighbouring windows are averaged (Chen et al., 2014, "Small-footprint keyword spotting"). A word
is detected where its average is the highest nearby. Both steps take one window after the other, and give the same
result as on a whole recording.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

STEP_SECONDS = 0.1  # between windows; rounded to whole frames
SMOOTHED = 5  # windows whose probabilities are averaged
APART_SECONDS = 1.0  # the least time between two detections


@dataclass(frozen=True)
class Detection:
    """A word in a stream.

    Attributes:
        window: number of the window, from 0.
        word: index of the word, as a class.
        score: its averaged probability.
        probabilities: the averaged probabilities of all classes.
    """

    window: int
    word: int
    score: float
    probabilities: np.ndarray


def step_frames(sample_rate: int, hop_length: int) -> int:
    """Frames from one window to the next; `hop_length` in samples."""
    return max(1, round(STEP_SECONDS * sample_rate / hop_length))


def smoothed(windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The mean of the SMOOTHED windows around each window; the first and the last are repeated at the ends."""
    around: deque[np.ndarray] = deque(maxlen=SMOOTHED)
    half = SMOOTHED // 2
    for window in windows:
        if not around:
            around.extend([window] * half)
        around.append(window)
        if len(around) == SMOOTHED:
            yield np.mean(around, axis=0)
    if around:
        last = around[-1]
        for _ in range(half):
            around.append(last)
            if len(around) == SMOOTHED:
                yield np.mean(around, axis=0)


def detections(
    scores: Iterable[np.ndarray], words: Sequence[int], step_seconds: float, threshold: float = 0.0
) -> Iterator[Detection]:
    """Yields the windows in which a word's score is the highest within APART_SECONDS, as soon as this is known.

    Args:
        scores: probabilities of the classes, (classes,) for each window.
        words: the classes to detect.
        step_seconds: from one window to the next.
        threshold: lower scores are no detections.
    """
    reach = math.ceil(APART_SECONDS / step_seconds) - 1  # windows on each side
    open_ones: list[Detection] = []
    settled: list[Detection] = []  # these wait for an earlier one, so that all are yielded in order
    window = -1
    for window, probabilities in enumerate(scores):
        word = max(words, key=lambda word: probabilities[word])
        if probabilities[word] >= threshold:
            open_ones.append(Detection(window, word, float(probabilities[word]), probabilities))
        settled += _settled(open_ones, reach, window)
        settled.sort(key=_window)
        while settled and (not open_ones or settled[0].window < open_ones[0].window):
            yield settled.pop(0)
    yield from sorted([*settled, *_settled(open_ones, reach, window + reach)], key=_window)


def _window(one: Detection) -> int:
    return one.window


def _settled(open_ones: list[Detection], reach: int, newest: int) -> Iterator[Detection]:
    """Removes and yields detections that windows after `newest` cannot change. Of equal scores the first counts."""
    while True:
        best = next((one for one in open_ones if _is_highest(one, open_ones, reach)), None)
        if best is None or best.window + reach > newest:
            return
        open_ones[:] = [one for one in open_ones if abs(one.window - best.window) > reach]
        yield best


def _is_highest(one: Detection, others: Sequence[Detection], reach: int) -> bool:
    return all(
        (other.score, -other.window) <= (one.score, -one.window)
        for other in others
        if abs(other.window - one.window) <= reach
    )
