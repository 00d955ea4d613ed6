"""When a word was said, from the probabilities of a window that slides over sound; the same for evaluation and use.

The probabilities of neighbouring windows are averaged (Chen et al., 2014, "Small-footprint keyword spotting"), and
where a word's average is the highest around, that is a detection. Both work on windows as they come, and give what they
would give on a whole recording.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

STEP_SECONDS = 0.1  # between windows; rounded to whole frames
SMOOTHED = 5  # windows whose probabilities are averaged
APART_SECONDS = 1.0  # detections are at least so far apart


@dataclass(frozen=True)
class Detection:
    """A word in a stream.

    Attributes:
        window: number of the window, from 0.
        word: index of the word, as a class.
        score: its averaged probability.
        probabilities: the averaged ones of all classes.
    """

    window: int
    word: int
    score: float
    probabilities: np.ndarray


def step_frames(sample_rate: int, hop_length: int) -> int:
    """Frames from one window to the next; `hop_length` in samples."""
    return max(1, round(STEP_SECONDS * sample_rate / hop_length))


def smoothed(windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The mean over SMOOTHED windows around each one; the first and the last count for those beyond them."""
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
    """The windows in which a word's score is the highest of any word's within APART_SECONDS, as soon as that is known.

    Args:
        scores: probabilities of the classes, (classes,) for each window.
        words: the classes that are to be detected.
        step_seconds: from one window to the next.
        threshold: lower scores are nothing.
    """
    reach = math.ceil(APART_SECONDS / step_seconds) - 1  # windows on each side
    open_ones: list[Detection] = []
    settled: list[Detection] = []  # that wait for an earlier one, so that all come in their order
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
    """Takes out and yields what no later window can change, given all up to `newest`; the first of equals wins."""
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
