"""Makes the stream that a network is judged on: words to detect and other people's speech, over background.

It is made of the clips of one split, at times that are known, over background that training has not heard. It holds the
words to detect, and speech that is none of them: other words, whole utterances, babble. The draws do not depend on the
experiment's parameter `seed`, so that two experiments on the same clips hear the same stream.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from kws.audio.cut import speech_interval
from kws.audio.frontend import FrontEnd
from kws.evaluate.stream import SECONDS, Stretch, Utterance
from kws.recordings.background import Background
from kws.recordings.clips import UNHEARD, lot, speakers_of
from kws.recordings.manifest import Recording, read_recordings, usable_rows
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec

SEEDS = {"validation": 1, "test": 2}  # of the draws: the same for all experiments
EVENTS = {"word": 0.6, "other word": 0.15, "utterance": 0.15, "babble": 0.1}  # shares of what is said
GAP_SECONDS = 4.0  # between two events are a clip's length and up to this much more
UTTERANCE_WORDS = (2, 8)  # of one person, if that person says so many
UTTERANCE_SECONDS = 8.0  # after which no word is added
PAUSE_SECONDS = (0.05, 0.3)  # between the words of an utterance
BABBLE_VOICES = (3, 6)
BABBLE_SECONDS = (3.0, 8.0)
SPEECH_DBFS = -26.0  # while somebody speaks
BABBLE_DB = -6.0  # against other speech
SNR_DB = (5.0, 25.0)  # of speech, one for each stretch
FADE_SECONDS = 0.01  # of words cut out of their clips
WORD_CLIPS, SPEECH_CLIPS = 2000, 1000  # different ones, at most; half as many of two seconds
CLIPS_A_PERSON = 10  # are drawn before more of one person are


_T = TypeVar("_T")


def recordings_of(
    manifest: Path, split: str, source: DataSource, words: Sequence[str], front_end: FrontEnd
) -> tuple[list[Recording], list[Recording]]:
    """What is said in the stream of a split: clips of the words to detect, and of other words, few enough for memory.

    The other words are those that training has never heard, said by people whom it has never heard where there are
    such people: see `leaking`.

    Args:
        manifest: of the features.
        split: validation or test.
        source: says where the recordings are.
        words: the words to detect.
        front_end: says how long a clip is.
    """
    own = [row for row in usable_rows(manifest, split) if row["class"] in words]
    others = usable_rows(manifest, UNHEARD[split])
    long = max(1.0, front_end.clip_samples / front_end.sample_rate)
    return (
        list(read_recordings(by_lot(own, int(WORD_CLIPS / long)), source, front_end)),
        list(read_recordings(by_lot(others, int(SPEECH_CLIPS / long)), source, front_end)),
    )


def stream_of(  # noqa: PLR0913 (a stream has that many ingredients)
    split: str,
    manifest: Path,
    source: DataSource,
    spec: FeatureSpec,
    noises: Background,
    *,
    words: Sequence[str],
    minutes: int,
) -> Iterator[Stretch]:
    """The stream of a split: `recordings_of` it over its background, in an order of its own.

    Args:
        split: validation or test.
        manifest: of the features.
        source: says where the recordings are.
        spec: of the features.
        noises: the background recordings of the split.
        words: the words to detect.
        minutes: length of the stream.
    """
    said, other = recordings_of(manifest, split, source, words, spec.front_end)
    return stretches(
        said,
        other,
        noises[split],
        front_end=spec.front_end,
        classes=spec.classes,
        minutes=minutes,
        seed=SEEDS[split],
    )


def leaking(manifest: Path) -> float:
    """The share of the clips of other words, in both streams, that people who are in training say: 0 to 1."""
    heard = speakers_of(manifest, "train")
    speakers = [row["speaker"] for split in UNHEARD.values() for row in usable_rows(manifest, split)]
    return sum(speaker in heard for speaker in speakers) / max(1, len(speakers))


def by_lot(rows: Iterable[Mapping[str, str]], count: int) -> list[Mapping[str, str]]:
    """At most `count` clips, drawn by their names alone: CLIPS_A_PERSON of each person, then as many more."""
    rounds: list[tuple[int, Mapping[str, str]]] = []
    clips_of: Counter[str] = Counter()
    for row in sorted(rows, key=lambda row: lot(row["name"])):
        rounds.append((clips_of[row["speaker"]] // CLIPS_A_PERSON, row))
        clips_of[row["speaker"]] += 1
    return [row for _, row in sorted(rounds, key=lambda one: one[0])[:count]]


def stretches(  # noqa: PLR0913 (a stream has that many ingredients)
    words: Iterable[Recording],
    speech: Iterable[Recording],
    noises: Mapping[str, np.ndarray],
    *,
    front_end: FrontEnd,
    classes: Sequence[str],
    minutes: int,
    seed: int,
) -> Iterator[Stretch]:
    """A stream, one stretch after the other; the same clips give the same stream.

    Args:
        words: clips of the words to detect.
        speech: clips of other words.
        noises: background recordings, by name.
        front_end: computes the features.
        classes: of the network, in its order.
        minutes: length of the stream.
        seed: of the order of the clips, their times and the backgrounds.
    """
    rng = np.random.default_rng(seed)
    events = _events(_speech(words, front_end), _speech(speech, front_end), classes, front_end.sample_rate, rng)
    backgrounds = _in_turn(sorted(noises), rng)
    waiting: list[_Event] = []
    for _ in range(minutes):
        name = next(backgrounds)
        sound, script, waiting = _stretch(itertools.chain(waiting, events), noises[name], front_end, rng)
        yield Stretch(front_end.clip_log_mel(sound), script, name)


@dataclass(frozen=True)
class _Speech:
    """A clip, where its speech starts and ends, in samples, and what it is multiplied by for SPEECH_DBFS there."""

    recording: Recording
    start: int
    end: int
    gain: np.float32

    def clip(self) -> np.ndarray:
        """The whole clip."""
        return self.recording.waveform * self.gain

    def cut_out(self, fade: int) -> np.ndarray:
        """The speech alone, without the pauses around it; `fade` samples at each end rise and fall."""
        ramp = np.minimum(1, np.arange(1, self.end - self.start + 1, dtype=np.float32) / fade)
        return self.recording.waveform[self.start : self.end] * self.gain * ramp * ramp[::-1]


@dataclass(frozen=True)
class _Event:
    """What is said at once: its sound, and the speech in it, with times from the sound's start."""

    sound: np.ndarray
    utterance: Utterance


def _speech(recordings: Iterable[Recording], front_end: FrontEnd) -> list[_Speech]:
    found = []
    for recording in sorted(recordings, key=lambda one: one.name):
        start, end = (
            round(s * front_end.sample_rate) for s in speech_interval(recording.waveform, front_end.sample_rate)
        )
        found.append(_Speech(recording, start, end, _gain(recording.waveform[start:end], SPEECH_DBFS)))
    return found


def _events(
    words: Sequence[_Speech], speech: Sequence[_Speech], classes: Sequence[str], rate: int, rng: np.random.Generator
) -> Iterator[_Event]:
    """What is said, without end, by lot; every clip and every person in turn. Nothing where there are no clips."""
    possible = {event: share for event, share in EVENTS.items() if (words if event == "word" else speech)}
    names, shares = list(possible), np.array([*possible.values()])
    own, other, utterances = _in_turn(words, rng), _in_turn(speech, rng), _utterances(speech, rate, rng)
    while possible:
        event = names[rng.choice(len(names), p=shares / shares.sum())]
        if event == "word":
            said = next(own)
            yield _event(said.clip(), said, rate, classes.index(said.recording.label))
        elif event == "other word":
            said = next(other)
            yield _event(said.clip(), said, rate)
        elif event == "utterance":
            sound, first = next(utterances)
            yield _whole(sound, first, rate)
        else:
            length = round(rng.uniform(*BABBLE_SECONDS) * rate)
            voices = [next(utterances) for _ in range(rng.integers(*BABBLE_VOICES, endpoint=True))]
            sound = np.sum([np.resize(voice, length) for voice, _ in voices], axis=0)
            yield _whole(sound * _gain(sound, SPEECH_DBFS + BABBLE_DB), voices[0][1], rate)


def _event(sound: np.ndarray, said: _Speech, rate: int, word: int | None = None) -> _Event:
    recording = said.recording
    return _Event(sound, Utterance(said.start / rate, said.end / rate, word, recording.speaker, recording.name))


def _whole(sound: np.ndarray, first: _Speech, rate: int) -> _Event:
    return _Event(sound, Utterance(0.0, len(sound) / rate, None, first.recording.speaker, first.recording.name))


def _utterances(speech: Sequence[_Speech], rate: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, _Speech]]:
    """Several words, one after the other, and the first of them: of one person, then of others if there are too few."""
    people: defaultdict[str, list[_Speech]] = defaultdict(list)
    for one in speech:
        people[one.recording.speaker].append(one)
    others = _in_turn(speech, rng)
    for speaker in _in_turn(sorted(people), rng):
        count = rng.integers(*UTTERANCE_WORDS, endpoint=True)
        said = [people[speaker][place] for place in rng.permutation(len(people[speaker]))[:count]]
        said += [next(others) for _ in range(count - len(said))]
        parts: list[np.ndarray] = []
        for one in said:
            if sum(map(len, parts)) < UTTERANCE_SECONDS * rate:
                pause = np.zeros(round(rng.uniform(*PAUSE_SECONDS) * rate) if parts else 0, np.float32)
                parts += [pause, one.cut_out(round(FADE_SECONDS * rate))]
        yield np.concatenate(parts), said[0]


def _in_turn(values: Sequence[_T], rng: np.random.Generator) -> Iterator[_T]:
    """All values in a random order, then again in another one."""
    while values:
        for place in rng.permutation(len(values)):
            yield values[place]


def _stretch(
    events: Iterator[_Event], noise: np.ndarray, front_end: FrontEnd, rng: np.random.Generator
) -> tuple[np.ndarray, list[Utterance], list[_Event]]:
    """A minute of sound, float32 (samples,), what is said in it, and the event that does not fit, for the next minute.

    Were it left out, long events would be rarer than short ones.
    """
    rate, clip = front_end.sample_rate, front_end.clip_samples
    length = SECONDS * rate
    sound = noise[(rng.integers(len(noise)) + np.arange(length)) % len(noise)]  # a short recording comes again
    sound = sound * _gain(sound, SPEECH_DBFS - rng.uniform(*SNR_DB))
    script: list[Utterance] = []
    start = clip + round(rng.uniform(0, GAP_SECONDS) * rate)
    for event in events:
        if start + len(event.sound) + 2 * clip > length:  # or its detection might not be told before the end
            return sound, script, [event]
        sound[start : start + len(event.sound)] += event.sound
        said, shift = event.utterance, start / rate
        script.append(Utterance(said.start + shift, said.end + shift, said.word, said.speaker, said.clip))
        start += len(event.sound) + clip + round(rng.uniform(0, GAP_SECONDS) * rate)
    return sound, script, []


def _gain(samples: np.ndarray, dbfs: float) -> np.float32:
    """What to multiply a sound by, so that its root mean square is at this level; 1 for zeros."""
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return np.float32(10 ** (dbfs / 20) / level) if level > 0 else np.float32(1)
