"""Which stretches of a stream are kept for people to judge: those of detected words, and of words nearly detected."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

import numpy as np

from kws.spotting.detect import Detection, detections, newest_lowest
from kws.spotting.spotter import Spotter

# A score is near from this share of the odds of the threshold on: for 0.9 (odds 9 to 1) from 0.69 (9 to 4). Of odds,
# not of the score itself, since a threshold of 0.99 would have all scores within reach.
NEAR_ODDS = 0.25
MARGIN_CLIPS = 0.5  # before and behind the clip, in clips: people tell a word by what is around it


def near_threshold(threshold: float) -> float:
    """The score from which on a word is nearly detected."""
    return NEAR_ODDS * threshold / (1 - threshold + NEAR_ODDS * threshold)


@dataclass(frozen=True)
class Stretch:
    """A stretch of a stream that is kept.

    Attributes:
        sound: float32 (samples,).
        start: the first sample of the clip in `sound`. It is the one in the middle of the windows that count for the
            score.
        word: index of the class.
        score: at the detection; of a word that was nearly detected, the highest one.
        fired: whether the word was detected.
    """

    sound: np.ndarray
    start: int
    word: int
    score: float
    fired: bool


@dataclass(frozen=True)
class _Event:
    """What is kept as soon as the sound behind it has been heard; the fields are those of `Detection` and `Stretch`."""

    window: int
    word: int
    score: float
    fired: bool


class Keeper:
    """Detects words in one stream as `Spotter.detect` does, and hands on the sounds to be kept.

    There is at most one of them in a clip's length. A word that stays near the threshold is kept once: again only after
    its score has been further below. No more sound is in memory than a few clips and the newest block.
    """

    def __init__(self, spotter: Spotter, threshold: float, keep: Callable[[Stretch], None]) -> None:
        self._spotter, self._threshold, self._keep = spotter, threshold, keep
        self._near = near_threshold(threshold)
        self._margin = round(MARGIN_CLIPS * spotter.clip_samples)
        self._sound = np.zeros(0, np.float32)  # the newest
        self._first = 0  # the number of its first sample, in the stream
        self._event: _Event | None = None
        self._known: set[int] = set()  # words whose score has not been below `_near` since they were kept

    def detect(self, blocks: Iterable[np.ndarray]) -> Iterator[Detection]:
        """Yields the words in a stream, as `Spotter.detect` does. What is kept is handed on a clip's length later."""
        windows = self._watched(self._spotter.windows(self._heard(blocks)))
        try:
            for found in detections(windows, self._spotter.words, self._spotter.timing, self._threshold):
                self._event = _Event(found.window, found.word, found.score, fired=True)
                self._known.add(found.word)
                yield found
        finally:
            self._end()

    def _heard(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            self._sound = np.concatenate([self._sound, block])
            yield block

    def _watched(self, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The windows. Looks for scores near the threshold, and forgets the sound that nothing can need any more."""
        timing, words = self._spotter.timing, self._spotter.words
        windows, same = tee(windows)
        for number, (scores, window) in enumerate(zip(newest_lowest(windows, timing.held), same, strict=True)):
            if self._event and number >= self._event.window + timing.apart:
                self._end()
            self._known = {word for word in self._known if scores[word] >= self._near}
            word = max(words, key=lambda word: scores[word])
            if self._is_nearest(word, score := float(scores[word])):
                self._event = _Event(number, word, score, fired=False)
                self._known.add(word)
            self._forget((number - timing.apart - timing.held) * timing.step_samples - self._margin)
            yield window

    def _is_nearest(self, word: int, score: float) -> bool:
        """Whether a word is nearly detected, and none was more nearly in the last windows."""
        if self._event:
            return not self._event.fired and score > self._event.score
        return score >= self._near and word not in self._known

    def _forget(self, before: int) -> None:
        past = max(0, before - self._first)
        self._sound, self._first = self._sound[past:], self._first + past

    def _end(self) -> None:
        """Hands on the sound of the event, if there is one."""
        if self._event is None:
            return
        event, self._event = self._event, None
        timing = self._spotter.timing
        clip = max(0, event.window * timing.step_samples - (timing.held - 1) * timing.step_samples // 2) - self._first
        start = max(0, clip - self._margin)
        sound = self._sound[start : clip + self._spotter.clip_samples + self._margin]
        self._keep(Stretch(sound, clip - start, event.word, event.score, event.fired))
