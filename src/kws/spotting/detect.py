"""Detects words from the probabilities of a sliding window. Evaluation and use share this code.

The probabilities of neighbouring windows are averaged (Chen et al., 2014, "Small-footprint keyword spotting"). A word
is detected where its average is the highest nearby. Both steps take one window after the other, and give the same
result as on a whole recording. All times follow the length of a clip, so that one rule fits clips of any length.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

STEPS_A_CLIP = 10  # from one window to the next: this part of a clip, rounded to whole frames

# How readily words are detected: the false alarms that the threshold is chosen for, as a multiple of those wanted.
SENSITIVITIES = {"few_misses": 4.0, "balanced": 1.0, "few_false_alarms": 0.25}


def one_threshold(thresholds: Mapping[str, float]) -> str:
    """Which sensitivities have the same threshold, as a sentence without its full stop; empty if all differ."""
    names = {value: [name for name, other in thresholds.items() if other == value] for value in thresholds.values()}
    return "; ".join(f"{' and '.join(same)} have one threshold" for same in names.values() if len(same) > 1)


@dataclass(frozen=True)
class Timing:
    """The times of the rule.

    Attributes:
        step_frames: frames from one window to the next.
        step_samples: the same in samples.
        smoothed: windows whose probabilities are averaged: those that start up to a quarter of a clip earlier or later.
        apart: windows from one detection to the next, at least: a clip's length, so that they share no sound.
    """

    step_frames: int
    step_samples: int
    smoothed: int
    apart: int

    @classmethod
    def of(cls, clip_samples: int, hop_length: int) -> Self:
        """The times for clips of `clip_samples`, which the front end cuts into frames each `hop_length` samples."""
        frames = max(1, round(clip_samples / STEPS_A_CLIP / hop_length))
        step = frames * hop_length
        return cls(frames, step, smoothed=1 + 2 * (clip_samples // (4 * step)), apart=-(-clip_samples // step))


@dataclass(frozen=True)
class Detection:
    """A word in a stream.

    Attributes:
        window: number of the window, from 0.
        word: index of the word, as a class.
        score: its averaged probability.
        probabilities: the averaged probabilities of all classes.
        reported: number of the newest window that had to be heard, until no later sound could change the detection.
    """

    window: int
    word: int
    score: float
    probabilities: np.ndarray
    reported: int


class _Candidate(NamedTuple):
    """A window that may become a detection; its fields are the first ones of Detection."""

    window: int
    word: int
    score: float
    probabilities: np.ndarray


def detections(
    windows: Iterable[np.ndarray], words: Sequence[int], timing: Timing, threshold: float = 0.0
) -> Iterator[Detection]:
    """Yields the windows in which a word's score is the highest within a clip's length, as soon as this is known.

    A score is the mean probability of a word over `timing.smoothed` windows.

    Args:
        windows: probabilities of the classes, (classes,) for each window.
        words: the classes to detect.
        timing: of the windows.
        threshold: lower scores are no detections. A detection depends on no lower score: those at a higher threshold
            are the same ones without those below it.
    """
    reach = timing.apart - 1
    open_ones: list[_Candidate] = []
    settled: list[_Candidate] = []  # these wait for an earlier one, so that all are yielded in order
    window = newest = -1
    for window, (newest, probabilities) in enumerate(smooth(windows, timing.smoothed)):
        word = max(words, key=lambda word: probabilities[word])
        score = float(probabilities[word])
        if score >= threshold:
            open_ones.append(_Candidate(window, word, score, probabilities))
        settled += _settled(open_ones, reach, window)
        settled.sort(key=_window)
        while settled and (not open_ones or settled[0].window < open_ones[0].window):
            yield Detection(*settled.pop(0), reported=newest)
    for candidate in sorted([*settled, *_settled(open_ones, reach, window + reach)], key=_window):
        yield Detection(*candidate, reported=newest)


def smooth(windows: Iterable[np.ndarray], count: int) -> Iterator[tuple[int, np.ndarray]]:
    """The mean of the `count` windows around each window; the first and the last are repeated at the ends.

    Yields:
        The number of the newest window that had to be heard for it, and the mean.
    """
    around: deque[np.ndarray] = deque(maxlen=count)
    half = count // 2
    newest = -1
    for newest, window in enumerate(windows):
        if not around:
            around.extend([window] * half)
        around.append(window)
        if len(around) == count:
            yield newest, np.mean(around, axis=0)
    if around:
        last = around[-1]
        for _ in range(half):
            around.append(last)
            if len(around) == count:
                yield newest, np.mean(around, axis=0)


def _window(one: _Candidate) -> int:
    return one.window


def _settled(open_ones: list[_Candidate], reach: int, newest: int) -> Iterator[_Candidate]:
    """Removes and yields detections that windows after `newest` cannot change. Of equal scores the first counts."""
    while True:
        best = next((one for one in open_ones if _is_highest(one, open_ones, reach)), None)
        if best is None or best.window + reach > newest:
            return
        open_ones[:] = [one for one in open_ones if abs(one.window - best.window) > reach]
        yield best


def _is_highest(one: _Candidate, others: Sequence[_Candidate], reach: int) -> bool:
    return all(
        (other.score, -other.window) <= (one.score, -one.window)
        for other in others
        if abs(other.window - one.window) <= reach
    )
