"""Which stretches of a stream are kept for people to judge: those of detected words, and of words nearly detected."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import tee
from pathlib import Path

import numpy as np

from kws.kept.folder import BETWEEN, Kept, KeptFolder
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


def keeping(
    spotter: Spotter, blocks: Iterable[np.ndarray], threshold: float, keep: Callable[[Stretch], None]
) -> Generator[Detection, None, None]:
    """Yields the words in a stream, as `Spotter.detect` does. Hands on the sounds to be kept, a clip's length later.

    There is at most one of them in a clip's length. A word that stays near the threshold is kept once: again only after
    its score has been further below. No more sound is in memory than a few clips and the newest block.

    Args:
        spotter: detects the words.
        blocks: the stream, float32 (samples,) each, of any lengths.
        threshold: of the score.
        keep: takes each sound; the last one as soon as the stream ends or this generator is closed.
    """
    return _Keeper(spotter, threshold, keep).detect(blocks)


class _Keeper:
    """What `keeping` has heard and seen so far."""

    def __init__(self, spotter: Spotter, threshold: float, keep: Callable[[Stretch], None]) -> None:
        self._spotter, self._threshold, self._keep = spotter, threshold, keep
        self._near = near_threshold(threshold)
        self._margin = round(MARGIN_CLIPS * spotter.clip_samples)
        self._sound = np.zeros(0, np.float32)  # the newest
        self._first = 0  # the number of its first sample, in the stream
        self._event: _Event | None = None
        self._known: set[int] = set()  # words whose score has not been below `_near` since they were kept

    def detect(self, blocks: Iterable[np.ndarray]) -> Generator[Detection, None, None]:
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


class Collector:
    """Writes the stretches of a stream into a folder, and counts them."""

    def __init__(self, folder: Path, most: int, model: Path, spotter: Spotter, threshold: float) -> None:
        """`most` sounds without an answer stay in the folder; the others are as in `keeping` and `Kept`."""
        self._folder, self._most = KeptFolder(folder), most
        self._model = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
        self._spotter, self._threshold = spotter, threshold
        self._fired = self._near = self._dropped = 0

    def __call__(self, stretch: Stretch) -> None:
        """Writes a stretch; errors as in `KeptFolder.add`."""
        rate = self._spotter.sample_rate
        kept = Kept(
            file="",
            time=datetime.now().isoformat(timespec="seconds"),  # noqa: DTZ005 (local time: a household's)
            word=self._spotter.classes[stretch.word],
            score=round(stretch.score, 4),
            threshold=round(self._threshold, 4),
            model=self._model,
            words=BETWEEN.join(self._spotter.classes[word] for word in self._spotter.words),
            fired="yes" if stretch.fired else "no",
            start=stretch.start / rate,
            seconds=self._spotter.clip_samples / rate,
        )
        self._dropped += self._folder.add(stretch.sound, rate, kept, self._most)
        self._fired += stretch.fired
        self._near += not stretch.fired

    def told(self) -> str:
        """What was kept, and what to do with it."""
        line = f"{self._folder.path}: kept {self._fired} detected and {self._near} nearly detected words"
        if self._dropped:
            line += f"; dropped the {self._dropped} oldest without an answer, since --keep-most is {self._most}"
        return f"{line}; next: kws review {self._folder.path}"
