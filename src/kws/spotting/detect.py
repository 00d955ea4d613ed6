"""Detects words from the probabilities of a sliding window. Evaluation and use share this rule.

The score of a word is its lowest probability over the newest windows: a word must be held for a while. It is detected
as soon as its score reaches a threshold, and no later window is waited for. docs/evaluation.md has the whole rule, and
docs/decisions/0009 says how it was chosen. All times follow the length of a clip, so that one rule fits all lengths.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from kws.audio.clip import STEP_FRAMES

STEPS_A_CLIP = 10  # from one window to the next: about this part of a clip, and a multiple of STEP_FRAMES
HELD_CLIPS = 0.3  # from the first window at which a word must be above the threshold to the last one, in clips

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
        held: how many of the newest windows count for a score.
        apart: windows from one detection to the next, at least: a clip's length, so that they share no sound.
    """

    step_frames: int
    step_samples: int
    held: int
    apart: int

    @classmethod
    def of(cls, clip_samples: int, hop_length: int) -> Self:
        """The times for clips of `clip_samples`, which the front end cuts into frames each `hop_length` samples."""
        multiple = STEP_FRAMES * hop_length
        frames = STEP_FRAMES * max(1, round(clip_samples / STEPS_A_CLIP / multiple))
        frames = min(frames, max(1, clip_samples // hop_length))  # of few long frames: no sound between two windows
        step = frames * hop_length
        return cls(frames, step, held=1 + round(HELD_CLIPS * clip_samples / step), apart=-(-clip_samples // step))


@dataclass(frozen=True)
class Detection:
    """A word in a stream.

    Attributes:
        window: number of the newest window, from 0: the one at which the word is told.
        word: index of the word, as a class.
        score: its lowest probability over the newest windows.
        probabilities: the lowest probability of each class over these windows.
    """

    window: int
    word: int
    score: float
    probabilities: np.ndarray


def detections(
    windows: Iterable[np.ndarray], words: Sequence[int], timing: Timing, threshold: float
) -> Iterator[Detection]:
    """Yields the words in a stream, each before the next window is taken.

    The score of a word is its lowest probability over the newest `timing.held` windows, fewer at the start. A word is
    detected where its score reaches the threshold and is the highest of all words, if the last detection is
    `timing.apart` windows ago or more. It is detected again only after its score has been below the threshold.

    Args:
        windows: probabilities of the classes, (classes,) for each window.
        words: the classes to detect.
        timing: of the windows.
        threshold: of the score.
    """
    told: set[int] = set()  # words whose score has not been below the threshold since they were detected
    free = 0  # the window from which on a word may be detected
    for window, scores in enumerate(newest_lowest(windows, timing.held)):
        told = {word for word in told if scores[word] >= threshold}
        word = max(words, key=lambda word: scores[word])
        if scores[word] >= threshold and word not in told and window >= free:
            yield Detection(window, word, float(scores[word]), scores)
            told.add(word)
            free = window + timing.apart


def newest_lowest(windows: Iterable[np.ndarray], held: int) -> Iterator[np.ndarray]:
    """The lowest probability of each class over the newest `held` windows, (classes,), before the next one is taken."""
    newest: deque[np.ndarray] = deque(maxlen=held)
    for probabilities in windows:
        newest.append(probabilities)
        yield np.min(newest, axis=0)


def lowest(probabilities: np.ndarray, held: int) -> np.ndarray:
    """The scores at all windows of a sound, (windows, classes), as `detections` computes them one after the other.

    Args:
        probabilities: of the windows, (windows, classes).
        held: how many of the newest windows count.
    """
    scores = probabilities.copy()
    for ago in range(1, min(held, len(scores))):
        np.minimum(scores[ago:], probabilities[:-ago], out=scores[ago:])
    return scores


def detected(scores: np.ndarray, timing: Timing, threshold: float) -> list[tuple[int, int]]:
    """What `detections` detects in a sound whose windows are all there: fast, since it looks at few of them.

    Args:
        scores: of the words alone, (windows, words), as `lowest` gives them.
        timing: of the windows.
        threshold: of the score.

    Returns:
        The number of the window, and the number of the word, of each detection.
    """
    above = scores >= threshold
    if not above.any():
        return []
    rises = np.cumsum(above & ~np.pad(above[:-1], ((1, 0), (0, 0))), axis=0)  # how often each score has risen so far
    best = scores.argmax(axis=1)
    places = np.flatnonzero(above.any(axis=1))  # there the best one is above
    rise = rises[places, best[places]]
    parts = np.flatnonzero((np.diff(places) > 1) | (np.diff(best[places]) != 0) | (np.diff(rise) != 0)) + 1
    told: set[tuple[int, int]] = set()
    found = []
    free = 0
    bounds = [0, *parts.tolist(), len(places)]
    for first, end in pairwise(bounds):  # in each of these parts, one word is the highest, in one rise of it
        window, word = max(free, int(places[first])), int(best[places[first]])
        if window <= places[end - 1] and (word, int(rise[first])) not in told:
            found.append((window, word))
            told.add((word, int(rise[first])))
            free = window + timing.apart
    return found
