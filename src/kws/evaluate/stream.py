"""Judges what is detected in a long stream of speech and background: false alarms an hour against missed words.

A window as long as a clip slides over the stream, `kws.spotting.detect` says what that detects, and `judge` says what
is right, wrong and false, by the rule in docs/evaluation.md. `kws.evaluate.stream_sound` makes the stream.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.core.files import written_whole
from kws.evaluate.noise_sweep import Predict
from kws.spotting.detect import Timing, detected, lowest

SECONDS = 60  # a stretch: computed at once, over one background
AT = 0.5  # a window is at an utterance if it holds this part of the shorter of the two
# Thresholds that are tried, evenly spaced in the logit: near 1, where probabilities are, they must be close together.
THRESHOLDS = tuple(np.unique((1 / (1 + np.exp(-np.arange(-40, 151) / 10))).round(6)).tolist())
_HOURS = ("hours", "speech_hours")  # the fields of an outcome that are no arrays


@dataclass(frozen=True)
class Utterance:
    """Speech in a stretch.

    Attributes:
        start: of the speech, in seconds.
        end: of it.
        word: the class to detect; None: it is other speech.
        speaker: who speaks; of several the first.
        clip: name of the clip; of several the first.
    """

    start: float
    end: float
    word: int | None
    speaker: str
    clip: str


@dataclass(frozen=True)
class Stretch:
    """A part of a stream.

    Attributes:
        log_mel: of the sound, float32 (frames, mel_bins).
        script: what is said in it, in order.
        background: name of the recording under it.
    """

    log_mel: np.ndarray
    script: list[Utterance]
    background: str


@dataclass(frozen=True)
class Reaction:
    """A detection in a stretch.

    Attributes:
        start: of its window, in seconds.
        end: of its window: when it is told.
        word: the class.
        score: of the word.
    """

    start: float
    end: float
    word: int
    score: float


@dataclass(frozen=True)
class StreamOutcome:
    """What became of a stream at one threshold.

    Attributes:
        hours: its length.
        missed: whether each word that was said is missed, bool (words,).
        taken_for_another: whether it is missed, and another word is detected at it, bool (words,).
        delays: from the end of the word to the report of its right detection, in seconds, (words,); not a number: none.
        speakers: who says the word, (words,).
        clips: name of its clip, (words,).
        kinds: where each false alarm is, (alarms,): `word` (beside a word to detect), `speech` (other speech) or
            `background`.
        sources: who spoke, or the background recording, (alarms,).
        speech_hours: how long other speech lasts in it.
    """

    hours: float
    missed: np.ndarray
    taken_for_another: np.ndarray
    delays: np.ndarray
    speakers: np.ndarray
    clips: np.ndarray
    kinds: np.ndarray
    sources: np.ndarray
    speech_hours: float

    def alarms(self, kind: str | None = None) -> np.ndarray:
        """The sources of the false alarms, (alarms,); of one kind, if it is given."""
        return self.sources if kind is None else self.sources[self.kinds == kind]


@dataclass(frozen=True)
class HeardStretch:
    """What a network hears of a stretch.

    Attributes:
        scores: of the words to detect at each window, float32 (windows, words); on a device of its one word, after each
            inference, uint8 (inferences,).
        script: what is said.
        background: name of the recording under it.
    """

    scores: np.ndarray
    script: list[Utterance]
    background: str


@dataclass(frozen=True)
class HeardStretches:
    """What is heard of a stream.

    Attributes:
        stretches: its parts, in order.
    """

    stretches: Sequence[HeardStretch]

    @property
    def hours(self) -> float:
        """Length of the stream."""
        return len(self.stretches) * SECONDS / 3600

    def allowed(self, false_alarms_an_hour: float) -> int:
        """How many false alarms this rate allows in the stream."""
        return int(false_alarms_an_hour * self.hours + 1e-9)


@dataclass(frozen=True)
class HeardStream(HeardStretches):
    """What a network hears of a stream. What it detects at one threshold does not tell what it would at another.

    Attributes:
        words: the classes to detect.
        timing: of the windows.
        step: seconds from one window to the next.
        clip: seconds of a window.
    """

    words: Sequence[int]
    timing: Timing
    step: float
    clip: float
    _outcomes: dict[float, StreamOutcome] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, threshold: float) -> StreamOutcome:
        """What becomes of the stream at a threshold. It is kept, since thresholds are tried again for each rate."""
        if threshold not in self._outcomes:
            outcome = joined_outcomes([self._judged(one, threshold) for one in self.stretches])
            first = next(iter(self._outcomes.values()), outcome)  # of the same words: their names are kept once
            self._outcomes[threshold] = replace(outcome, speakers=first.speakers, clips=first.clips)
        return self._outcomes[threshold]

    def threshold(self, false_alarms_an_hour: float) -> float:
        """The lowest of THRESHOLDS from which on all keep false alarms within this number an hour; else 1."""
        allowed = self.allowed(false_alarms_an_hour)
        chosen = THRESHOLDS[-1]
        for threshold in reversed(THRESHOLDS):
            if len(self.at(threshold).alarms()) > allowed:
                break
            chosen = threshold
        return chosen

    def _judged(self, heard: HeardStretch, threshold: float) -> StreamOutcome:
        reactions = [
            Reaction(
                window * self.step, window * self.step + self.clip, self.words[word], float(heard.scores[window, word])
            )
            for window, word in detected(heard.scores, self.timing, threshold)
        ]
        return judge(reactions, heard.script, heard.background, SECONDS / 3600)


def write_stream(path: Path, outcome: StreamOutcome) -> None:
    """Writes the outcome of a stream as a NumPy archive; same outcome, same bytes."""
    with written_whole(path) as partial:
        np.savez(partial, **vars(outcome))


def read_stream(path: Path) -> StreamOutcome:
    """What `write_stream` was given."""
    with np.load(path) as parts:
        arrays = dict(parts)
    hours, speech_hours = (float(arrays.pop(name)) for name in _HOURS)
    return StreamOutcome(hours=hours, speech_hours=speech_hours, **arrays)


def hear(
    networks: Mapping[str, Predict], stream: Iterable[Stretch], *, front_end: FrontEnd, words: Sequence[int]
) -> dict[str, HeardStream]:
    """Runs networks over one stream, and returns what each of them hears, by its name.

    Args:
        networks: by name: log-Mel of windows to probabilities.
        stream: its stretches, as they come.
        front_end: computed the features.
        words: the classes to detect.
    """
    timing = Timing.of(front_end.clip_samples, front_end.hop_length)
    heard: dict[str, list[HeardStretch]] = {name: [] for name in networks}
    for stretch in stream:
        windows = np.lib.stride_tricks.sliding_window_view(stretch.log_mel, front_end.frames, axis=0)
        windows = windows[:: timing.step_frames].transpose(0, 2, 1)
        for name, predict in networks.items():
            scores = lowest(predict(windows)[:, list(words)], timing.held)
            heard[name].append(HeardStretch(scores, stretch.script, stretch.background))
    step, clip = (samples / front_end.sample_rate for samples in (timing.step_samples, front_end.clip_samples))
    return {name: HeardStream(parts, words, timing, step, clip) for name, parts in heard.items()}


def judge(reactions: Sequence[Reaction], script: Sequence[Utterance], background: str, hours: float) -> StreamOutcome:
    """What is right, wrong and false in a stretch.

    A detection is *at* an utterance if its window holds half of the utterance, or if half of its window is in it. It is
    *beside* one if its window holds less of it. It belongs to an utterance of its own word that it is at, else to one
    that it is at, else to one that it is beside; of several to the one whose middle is nearest; else to the background.

    Of the detections at a word to detect, one may be the reaction to it: all but one are false. So the false alarms are
    all but one there, all beside it, at or beside other speech, and in the background.

    Args:
        reactions: the detections at one threshold, in order.
        script: what is said.
        background: name of the recording under it.
        hours: length of the stretch.
    """
    at_words: dict[int, list[Reaction]] = {place: [] for place, said in enumerate(script) if said.word is not None}
    alarms: list[tuple[str, str]] = []  # kind, source
    for reaction, (place, is_at) in zip(reactions, _utterances_of(reactions, script), strict=True):
        if place is None:
            alarms.append(("background", background))
        elif place in at_words and is_at:
            at_words[place].append(reaction)
        else:
            alarms.append(("word" if place in at_words else "speech", script[place].speaker))
    missed, taken_for_another, delays = [], [], []
    for place, there in at_words.items():
        said = script[place]
        right = [reaction for reaction in there if reaction.word == said.word]
        missed.append(not right)
        taken_for_another.append(bool(there) and not right)
        delays.append(right[0].end - said.end if right else math.nan)
        alarms += [("word", said.speaker)] * (len(there) - 1)
    return StreamOutcome(
        hours=hours,
        missed=np.array(missed, bool),
        taken_for_another=np.array(taken_for_another, bool),
        delays=np.array(delays, float),
        speakers=np.array([script[place].speaker for place in at_words], str),
        clips=np.array([script[place].clip for place in at_words], str),
        kinds=np.array([kind for kind, _ in alarms], str),
        sources=np.array([source for _, source in alarms], str),
        speech_hours=sum(one.end - one.start for one in script if one.word is None) / 3600,
    )


def _utterances_of(reactions: Sequence[Reaction], script: Sequence[Utterance]) -> Iterable[tuple[int | None, bool]]:
    """For each detection the place in the script of its utterance, None: none; and whether it is at it."""
    if not reactions or not script:
        return [(None, False)] * len(reactions)
    starts, ends = (np.array([getattr(one, end) for one in script]) for end in ("start", "end"))
    first, last = (np.array([[getattr(one, end)] for one in reactions]) for end in ("start", "end"))
    shared = np.minimum(last, ends) - np.maximum(first, starts)
    beside = shared > 0
    at = beside & (shared >= AT * np.minimum(last - first, ends - starts))
    own = at & np.array([[one.word == said.word for said in script] for one in reactions])
    away = np.abs(starts + ends - first - last)
    candidates = np.where(own.any(axis=1, keepdims=True), own, np.where(at.any(axis=1, keepdims=True), at, beside))
    nearest = np.where(candidates, away, np.inf).argmin(axis=1)
    found = zip(nearest.tolist(), beside.any(axis=1), at.any(axis=1), strict=True)
    return [(place if any_beside else None, bool(any_at)) for place, any_beside, any_at in found]


def joined(parts: Sequence[HeardStream]) -> HeardStream:
    """What a network hears of a stream, from what it hears of its parts, in order."""
    return replace(parts[0], stretches=[one for part in parts for one in part.stretches])


def joined_outcomes(parts: Sequence[StreamOutcome]) -> StreamOutcome:
    """The outcome of a stream from those of its parts, in order."""
    names = [one.name for one in fields(StreamOutcome) if one.name not in _HOURS]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    hours, speech_hours = (sum(getattr(part, name) for part in parts) for name in _HOURS)
    return StreamOutcome(hours=hours, speech_hours=speech_hours, **arrays)
