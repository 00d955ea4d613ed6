"""Judges what is detected in a long stream of speech and background: false alarms an hour against missed words.

A window as long as a clip slides over the stream, `kws.spotting.detect` says what that detects, and `judge` says what
is right, wrong and false, by the rule in docs/evaluation.md. `kws.evaluate.stream_sound` makes the stream.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.core.files import written_whole
from kws.evaluate.noise_sweep import Predict
from kws.spotting.detect import Timing, detections

SECONDS = 60  # a stretch: computed at once, over one background
_HOURS = ("hours", "speech_hours")  # the fields of an outcome that are no arrays
AT = 0.5  # a window is at an utterance if it holds this part of the shorter of the two


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
        end: of its window.
        word: the class.
        score: its averaged probability.
        reported: when it is told, in seconds.
    """

    start: float
    end: float
    word: int
    score: float
    reported: float


@dataclass(frozen=True)
class StreamOutcome:
    """What became of a stream.

    Attributes:
        hours: its length.
        right_scores: score of the right detection of each word that was said, 0 where there is none.
        wrong_scores: highest score of another word's detection at it, 0 where there is none.
        delays: from the end of the word to the report of its right detection, in seconds; not a number: none.
        speakers: who says the word.
        clips: name of its clip.
        false_scores: scores of the false alarms.
        kinds: where they are: `word` (beside a word to detect), `speech` (other speech) or `background`.
        sources: who spoke, or the background recording.
        speech_hours: how long other speech lasts in it.
    """

    hours: float
    right_scores: np.ndarray
    wrong_scores: np.ndarray
    delays: np.ndarray
    speakers: np.ndarray
    clips: np.ndarray
    false_scores: np.ndarray
    kinds: np.ndarray
    sources: np.ndarray
    speech_hours: float

    def missed(self, threshold: float) -> np.ndarray:
        """Whether each word is missed: bool (words,). A word that is never detected is missed at a threshold of 0."""
        return (self.right_scores < threshold) | (self.right_scores == 0)

    def taken_for_another(self, threshold: float) -> np.ndarray:
        """Whether each word is missed, and another one is detected at it: bool (words,)."""
        return self.missed(threshold) & (self.wrong_scores >= threshold) & (self.wrong_scores > 0)

    def alarms(self, threshold: float, kind: str | None = None) -> np.ndarray:
        """The sources of the false alarms, (alarms,); of one kind, if it is given."""
        counted = self.false_scores >= threshold
        return self.sources[counted if kind is None else counted & (self.kinds == kind)]

    def threshold(self, false_alarms_an_hour: float) -> float:
        """The lowest threshold, of six decimals, that keeps false alarms within this number an hour; at most 1."""
        allowed = self.allowed(false_alarms_an_hour)
        highest = np.sort(self.false_scores)[::-1]
        above = highest[allowed] if len(highest) > allowed else 0.0
        return min(1.0, (math.floor(1e6 * above) + 1) / 1e6)

    def allowed(self, false_alarms_an_hour: float) -> int:
        """How many false alarms this rate allows in the stream."""
        return int(false_alarms_an_hour * self.hours + 1e-9)


def write_stream(path: Path, outcome: StreamOutcome, threshold: float) -> None:
    """Writes the outcome of a stream, and the threshold chosen for it, as a NumPy archive; same outcome, same bytes."""
    with written_whole(path) as partial:
        np.savez(partial, **vars(outcome), threshold=threshold)


def read_stream(path: Path) -> tuple[StreamOutcome, float]:
    """What `write_stream` was given."""
    with np.load(path) as parts:
        arrays = dict(parts)
    threshold, hours, speech_hours = (float(arrays.pop(name)) for name in ("threshold", *_HOURS))
    return StreamOutcome(hours=hours, speech_hours=speech_hours, **arrays), threshold


def simulate(
    networks: Mapping[str, Predict], stream: Iterable[Stretch], *, front_end: FrontEnd, words: Sequence[int]
) -> dict[str, StreamOutcome]:
    """Runs networks over one stream, and returns what becomes of it for each, by its name; nothing of no stretches.

    Args:
        networks: by name: log-Mel of windows to probabilities.
        stream: its stretches, as they come.
        front_end: computed the features.
        words: the classes to detect.
    """
    timing = Timing.of(front_end.clip_samples, front_end.hop_length)
    step, clip = timing.step_samples / front_end.sample_rate, front_end.clip_samples / front_end.sample_rate
    parts: dict[str, list[StreamOutcome]] = {name: [] for name in networks}
    for stretch in stream:
        windows = np.lib.stride_tricks.sliding_window_view(stretch.log_mel, front_end.frames, axis=0)
        windows = windows[:: timing.step_frames].transpose(0, 2, 1)
        for name, predict in networks.items():
            reactions = [
                Reaction(one.window * step, one.window * step + clip, one.word, one.score, one.reported * step + clip)
                for one in detections(predict(windows), words, timing)
                if one.score > 0
            ]
            parts[name].append(judge(reactions, stretch.script, stretch.background, SECONDS / 3600))
    return {name: joined(outcomes) for name, outcomes in parts.items() if outcomes}


def judge(reactions: Sequence[Reaction], script: Sequence[Utterance], background: str, hours: float) -> StreamOutcome:
    """What is right, wrong and false in a stretch.

    A detection is *at* an utterance if its window holds half of the utterance, or if half of its window is in it. It is
    *beside* one if its window holds less of it. It belongs to an utterance of its own word that it is at, else to one
    that it is at, else to one that it is beside; of several to the one whose middle is nearest; else to the background.

    Of the detections at a word to detect, one may be the reaction to it: at any threshold all but one are false. So the
    false alarms are all but the highest there, all beside it, at or beside other speech, and in the background.

    Args:
        reactions: the detections.
        script: what is said.
        background: name of the recording under it.
        hours: length of the stretch.
    """
    at_words: dict[int, list[Reaction]] = {place: [] for place, said in enumerate(script) if said.word is not None}
    alarms: list[tuple[float, str, str]] = []  # score, kind, source
    for reaction in reactions:
        place, is_at = _utterance_of(reaction, script)
        if place is None:
            alarms.append((reaction.score, "background", background))
        elif place in at_words and is_at:
            at_words[place].append(reaction)
        else:
            alarms.append((reaction.score, "word" if place in at_words else "speech", script[place].speaker))
    right_scores, wrong_scores, delays = [], [], []
    for place, there in at_words.items():
        said = script[place]
        right = [reaction for reaction in there if reaction.word == said.word]
        wrong = [reaction for reaction in there if reaction.word != said.word]
        best = max(right, key=lambda reaction: reaction.score, default=None)
        right_scores.append(best.score if best else 0.0)
        delays.append(best.reported - said.end if best else math.nan)
        wrong_scores.append(max((reaction.score for reaction in wrong), default=0.0))
        all_but_the_highest = sorted(reaction.score for reaction in there)[:-1]
        alarms += [(score, "word", said.speaker) for score in all_but_the_highest]
    false_scores, kinds, sources = ([alarm[column] for alarm in alarms] for column in range(3))
    return StreamOutcome(
        hours=hours,
        right_scores=np.array(right_scores, float),
        wrong_scores=np.array(wrong_scores, float),
        delays=np.array(delays, float),
        speakers=np.array([script[place].speaker for place in at_words], str),
        clips=np.array([script[place].clip for place in at_words], str),
        false_scores=np.array(false_scores, float),
        kinds=np.array(kinds, str),
        sources=np.array(sources, str),
        speech_hours=sum(one.end - one.start for one in script if one.word is None) / 3600,
    )


def _utterance_of(reaction: Reaction, script: Sequence[Utterance]) -> tuple[int | None, bool]:
    """The place in the script of the utterance that a detection belongs to, None: none; and whether it is at it."""
    shared = [min(reaction.end, one.end) - max(reaction.start, one.start) for one in script]
    shorter = [min(reaction.end - reaction.start, one.end - one.start) for one in script]
    beside = [place for place, seconds in enumerate(shared) if seconds > 0]
    at = [place for place in beside if shared[place] >= AT * shorter[place]]
    own = [place for place in at if script[place].word == reaction.word]
    middle = reaction.start + reaction.end
    nearest = min(
        own or at or beside, key=lambda place: abs(script[place].start + script[place].end - middle), default=None
    )
    return nearest, bool(at)


def joined(parts: Sequence[StreamOutcome]) -> StreamOutcome:
    """The outcome of a stream from those of its parts, in order."""
    names = [field.name for field in fields(StreamOutcome) if field.name not in _HOURS]
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    hours, speech_hours = (sum(getattr(part, name) for part in parts) for name in _HOURS)
    return StreamOutcome(hours=hours, speech_hours=speech_hours, **arrays)
