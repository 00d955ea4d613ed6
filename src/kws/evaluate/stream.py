"""A long stream of words and background, as a device hears it: false alarms an hour against missed words.

The stream is made of the clips of one split, at times that are known, over background that training has not heard. A
window as long as a clip slides over it, and `kws.spotting.detect` says what that detects.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.evaluate.noise_sweep import Predict
from kws.recordings.manifest import Recording
from kws.spotting.detect import detections, smoothed, step_frames

SECONDS = 60  # a stretch: computed at once, over one background
TOLERANCE_SECONDS = 0.75  # a detection may be so far from its word's clip: the window still holds a quarter of that
GAP_SECONDS = (1.0, 5.0)  # from a word's end to the next one's start
WORD_DBFS = -26.0
SNR_DB = (5.0, 25.0)  # of the words in a stretch


@dataclass(frozen=True)
class StreamOutcome:
    """What became of a stream.

    Attributes:
        hours: its length.
        words: score of the right detection of each word that was said, 0 where there is none.
        wrong: scores of the detections of another word where one of ours was said and not detected rightly.
        false: scores of the false alarms: detections where none was said, or of a word that was detected already.
    """

    hours: float
    words: np.ndarray
    wrong: np.ndarray
    false: np.ndarray

    def threshold(self, false_alarms_an_hour: float) -> float:
        """The lowest score that keeps false alarms within this number an hour."""
        allowed = int(false_alarms_an_hour * self.hours)
        highest = np.sort(self.false)[::-1]
        return float(np.nextafter(highest[allowed], 2, dtype=np.float32)) if len(highest) > allowed else 0.0

    def counts(self, threshold: float) -> tuple[int, int, int]:
        """How many words are missed, how many of them taken for another one, and how many false alarms there are."""
        # a word that nobody detected has score 0, and is missed at a threshold of 0 too
        missed = (self.words < threshold) | (self.words == 0)
        return int(missed.sum()), int((self.wrong >= threshold).sum()), int((self.false >= threshold).sum())


def simulate(  # noqa: PLR0913 (a measurement has that many ingredients)
    predict: Predict,
    recordings: Sequence[Recording],
    noises: Mapping[str, np.ndarray],
    *,
    front_end: FrontEnd,
    classes: Sequence[str],
    words: Sequence[str],
    minutes: int,
    seed: int,
) -> StreamOutcome:
    """Runs a network over a stream.

    Args:
        predict: the network.
        recordings: what is said; those of no word of `words` should be rejected.
        noises: background recordings, by name.
        front_end: what computes the features.
        classes: of the network, in its order.
        words: those that are to be detected.
        minutes: length of the stream.
        seed: of the order of the clips, their times and the backgrounds.
    """
    rng = np.random.default_rng(seed)
    said = _endless(recordings, rng)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for number in range(minutes):
        noise = noises[sorted(noises)[number % len(noises)]]
        sound, script = _stretch(said, noise, front_end, rng)
        ours = [(time, classes.index(label)) for time, label in script if label in words]
        parts.append(_compare(_detected(predict, sound, front_end, [classes.index(word) for word in words]), ours))
    return StreamOutcome(minutes / 60, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def _endless(recordings: Sequence[Recording], rng: np.random.Generator) -> Iterator[Recording]:
    while True:
        for index in rng.permutation(len(recordings)):
            yield recordings[index]


def _stretch(
    said: Iterator[Recording], noise: np.ndarray, front_end: FrontEnd, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """A minute of sound, float32 (samples,), and what is said in it: when each clip starts, and its class."""
    rate = front_end.sample_rate
    length = SECONDS * rate
    sound = np.resize(np.roll(noise, int(rng.integers(len(noise)))), length)  # a short recording comes again
    sound = _at_level(sound, WORD_DBFS - rng.uniform(*SNR_DB))
    script = []
    start = round(rng.uniform(*GAP_SECONDS) * rate)
    while start + front_end.clip_samples + rate < length:
        recording = next(said)
        clip = _at_level(recording.waveform, WORD_DBFS)
        sound[start : start + len(clip)] += clip
        script.append((start / rate, recording.label))
        start += len(clip) + round(rng.uniform(*GAP_SECONDS) * rate)
    return sound, script


def _detected(
    predict: Predict, sound: np.ndarray, front_end: FrontEnd, words: Sequence[int]
) -> list[tuple[float, int, float]]:
    """What is detected in a stretch: when the window starts, in seconds, the word and its score."""
    log_mel = front_end.log_mel(sound)
    step = step_frames(front_end.sample_rate, front_end.hop_length)
    windows = np.lib.stride_tricks.sliding_window_view(log_mel, front_end.frames, axis=0)[::step]
    probabilities = predict(windows.transpose(0, 2, 1))
    step_seconds = step * front_end.hop_length / front_end.sample_rate
    detected = detections(smoothed(probabilities), words, step_seconds)
    return [(detection.window * step_seconds, detection.word, detection.score) for detection in detected]


def _compare(
    detections: Sequence[tuple[float, int, float]], script: Sequence[tuple[float, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score of each word's right detection (0: there is none), and scores of those that are wrong, and false."""
    right, wrong = np.zeros(len(script)), np.zeros(len(script))
    false: list[float] = []
    for time, word, score in detections:
        near = next((n for n, (start, _) in enumerate(script) if abs(time - start) <= TOLERANCE_SECONDS), None)
        if near is None:
            false.append(score)
        elif script[near][1] != word:
            wrong[near] = max(wrong[near], score)
        else:
            false += [min(right[near], score)] if right[near] else []
            right[near] = max(right[near], score)
    return right, wrong[(wrong > 0) & (right == 0)], np.array(false)


def _at_level(samples: np.ndarray, dbfs: float) -> np.ndarray:
    """The same sound, its root mean square at this many decibels of full scale."""
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return samples * np.float32(10 ** (dbfs / 20) / level) if level > 0 else samples.copy()
