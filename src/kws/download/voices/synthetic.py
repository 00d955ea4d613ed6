"""Any words, spoken by voices of eSpeak NG and Hibari: as a data set of their own, or beside recordings."""

import hashlib
import io
import itertools
import os
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from kws.audio.noise import coloured_noise
from kws.core.errors import UserError
from kws.core.files import written_whole
from kws.core.naming import BACKGROUND, COMPUTED, first_names
from kws.core.parallel import map_in_order
from kws.download.voices import acoustics, espeak, hibari, pronunciation
from kws.download.voices.acoustics import SAMPLE_RATE
from kws.recordings.clips import SPLITS, UNHEARD, Clip
from kws.recordings.parts import part_of
from kws.recordings.people import PERCENT, speaker_split
from kws.recordings.speakers import NOHASH
from kws.recordings.unheard import dealt_words

NOISE_SECONDS = 30
OTHER_SPEAKERS = 24  # half of them for validation, half for the test

_ENGLISH = "en en-029 en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-gb-x-rp en-us en-us en-us en-us en-us-nyc".split()  # noqa: SIM905 (reads better)
# The variants of eSpeak NG 1.52 that sound like people, without near copies
_VARIANTS = (  # noqa: SIM905 (as above)
    "Alex Alicia Andrea Andy Annie AnxiousAndy Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael "
    "Mike Nguyen Reed adam anika antonio aunty belinda boris caleb croak david ed edward f1 f2 f3 f4 f5 "
    "grandma grandpa gustave ian iven john kaukovalta klatt klatt2 klatt3 linda m1 m2 m3 m4 m5 m6 m7 m8 "
    "marcelo max michel miguel norbert pablo paul pedro quincy rob robert sandro shelby steph travis victor "
    "whisper zac"
).split()


def _dealt(names: Sequence[str]) -> dict[str, list[str]]:
    """Which names are for which split, by lot, so that no timbre is in two splits."""
    names = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    ends = np.cumsum([0, *(PERCENT[split] for split in SPLITS)]) * len(names) // 100
    return {split: sorted(names[ends[i] : ends[i + 1]]) for i, split in enumerate(SPLITS)}


_VARIANTS_OF = _dealt(_VARIANTS)
_LONGEST = 0.8  # of a clip; a longer word is spoken faster
_ENDINGS = ("", ".", "!", "?", ",")  # they change the melody
_QUIET = 0.01  # relative to the loudest sample: softer ones before and after a word are silence
_BLOCK = 160  # samples, 10 ms
_LOUD_DB = -10.0  # relative to the loudest block
_BEFORE_DB, _AFTER_DB = (-10.0, 3.0), (-20.0, 3.0)
_OTHER_VOICES = 20  # to try where one has no sound of a word
OTHER_SPEECH = "_other_speech_/"  # begins the names of clips of words that training does not hear
_TASK = 200  # clips for each process of eSpeak NG: bounds the memory, and does not change the result

# Aesop's fable, by which phoneticians compare accents (Handbook of the International Phonetic Association, 1999).
# Voices of other languages read it, too: nobody is to understand them.
_FABLE = (
    "The north wind and the sun were disputing which was the stronger, when a traveler came along wrapped in a "
    "warm cloak. They agreed that the one who first succeeded in making the traveler take his cloak off should "
    "be considered stronger than the other. Then the north wind blew as hard as he could, but the more he blew the "
    "more closely did the traveler fold his cloak around him; and at last the north wind gave up the attempt. Then "
    "the sun shone out warmly, and immediately the traveler took off his cloak. And so the north wind was obliged to "
    "confess that the sun was the stronger of the two."
)


@dataclass(frozen=True)
class _Voice:
    """A voice of eSpeak NG."""

    name: str
    rate: int  # words a minute
    pitch: int  # 0 to 100
    pitch_range: int  # 0 to 100
    formants: float  # relative to those of the voice; a shorter vocal tract has higher ones

    @classmethod
    def draw(cls, rng: np.random.Generator, variety: float, accents: Sequence[str], split: str) -> "_Voice":
        return cls(
            name=_draw_name(rng, accents, split),
            rate=round(espeak.USUAL * np.exp(variety * rng.uniform(-0.4, 0.4))),
            pitch=round(50 + variety * rng.uniform(-40, 40)),
            pitch_range=round(50 + variety * rng.uniform(-40, 40)),
            formants=float(np.exp(variety * rng.normal(0, 0.09)).clip(0.8, 1.25)),
        )

    def utterance(self, text: str, longest: float, rng: np.random.Generator) -> espeak.Utterance:
        """An utterance of a text by this voice, with random differences."""
        return espeak.Utterance(
            text,
            self.name,
            rate=round(self.rate * rng.uniform(0.85, 1.15)),
            pitch=int(np.clip(self.pitch + rng.normal(0, 8), 0, 99)),
            pitch_range=int(np.clip(self.pitch_range + rng.normal(0, 15), 0, 99)),
            longest=longest,
            seed=int(rng.integers(2**31)),
        )


def _draw_name(rng: np.random.Generator, accents: Sequence[str], split: str) -> str:
    return f"{rng.choice(accents)}+{rng.choice(_VARIANTS_OF[split])}"


@dataclass(frozen=True)
class Voices:
    """The speakers of a corpus, and the length of their clips.

    Attributes:
        speakers: their number; of every ten, the ninth is for validation and the tenth for the test.
        variety: 0 to 1, how much voices, rooms and microphones differ.
        neural_share: 0 to 1, the share of speakers with a voice from Hibari instead of eSpeak NG.
        seed: of the voices, the rooms and the noises.
        language: of eSpeak NG.
        clip_seconds: length of each clip; the words are spoken as fast as they must be.
    """

    speakers: int
    variety: float
    neural_share: float
    seed: int
    language: str
    clip_seconds: float

    @property
    def clip(self) -> int:
        """Length of each clip, in samples."""
        return round(self.clip_seconds * SAMPLE_RATE)

    @property
    def longest(self) -> float:
        """Length that an utterance should not exceed, in seconds."""
        return _LONGEST * self.clip_seconds

    def accents(self) -> list[str]:
        """The voices of eSpeak NG to draw from; one that is drawn more often is listed more often."""
        return _ENGLISH if self.language == "en" else espeak.accents_of(self.language)


@dataclass(frozen=True)
class _Speaker:
    """A voice, the place in which it is recorded, and the split that it is for: no other has its variant and noise."""

    split: str
    voice: _Voice | hibari.Voice
    place: acoustics.Place


@dataclass(frozen=True)
class Others:
    """Words that voices say beside the chosen ones, not all voices the same.

    Attributes:
        near: those that sound nearest to the chosen ones.
        far: any others.
        each: how many a voice says, of both kinds in turn: first a near one. More of them are a superset.
    """

    near: Sequence[str]
    far: Sequence[str]
    each: int

    def said_by(self, speaker: str) -> list[str]:
        """The words that a speaker says, as many as there are."""
        kinds = (_draw_others(speaker, words, self.each) for words in (self.near, self.far))
        turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds))
        return [word for word in turns if word is not None][: self.each]


def write_corpus(
    target: Path, words: Sequence[str], voices: Voices, others: Sequence[str] = (), others_each: int = 0
) -> None:
    """Writes a tar archive like that of Speech Commands, in which every speaker says every word once.

    It contains `<word>/<speaker>_nohash_0.wav` and `_background_noise_/<noise>.wav`, 16-bit mono at 16 kHz. The same
    arguments give the same bytes. A clip does not depend on the other words or on the number of speakers. What is not
    as one would expect (words that are spelled, hurried or cut off, voices that were replaced) is printed.

    Args:
        target: the archive, not compressed.
        words: anything that eSpeak NG can say in the language; `_` is read as a space.
        voices: the speakers.
        others: more words, of which every speaker says some, not all speakers the same.
        others_each: how many of them; more of them are a superset.

    Raises:
        UserError: eSpeak NG cannot be loaded, does not have the language, cannot read a word, or has the same sounds
            for two of them; or Hibari is not installed.
    """
    espeak.check_installed("dataset: synthetic", "take another dataset")
    remarks = pronunciation.check(words, voices.accents(), voices.clip_seconds)
    people = _draw_speakers(voices)
    says = {name: [*words, *_draw_others(name, others, others_each)] for name, _ in people}
    noises = _make_noises(voices) | {"babble": _make_babble(voices)}
    with written_whole(target) as partial, tarfile.open(partial, "w") as archive:
        for name, noise in noises.items():
            _add(archive, f"{BACKGROUND}/{name}.wav", _wav(noise * acoustics.gain(-1) / np.abs(noise).max()))
        remarks += _add_clips(archive, "", people, says, noises=noises, voices=voices)
    print(*remarks, sep="\n", end="\n" * bool(remarks))


def write_beside(target: Path, words_of: Mapping[str, Sequence[str]], voices: Voices, others: Others) -> list[Clip]:
    """Writes a tar archive of computed voices that speak beside people.

    Names begin with `_computed_/`, so that they are none of the data set's. Each voice says each word of its split
    once. What is not as one would expect is printed, as by `write_corpus`.

    Args:
        target: the archive, not compressed.
        words_of: the words of each split.
        voices: the speakers of training. Validation and test have a tenth of their number each, at least one, or none
            where they have nothing to say.
        others: words that all voices say, too.

    Returns:
        The clips; `split` is that of the voice.

    Raises:
        UserError: as `write_corpus`.
    """
    espeak.check_installed("computed_voices", "set it to 0")
    words = dict.fromkeys(word for split in words_of for word in words_of[split])
    remarks = pronunciation.check(list(words), voices.accents(), voices.clip_seconds)
    people: list[tuple[str, _Speaker]] = []
    says: dict[str, list[str]] = {}
    for split, own in words_of.items():
        for index in range(voices.speakers if split == "train" else max(1, voices.speakers // 10)):
            name = f"computed-{split}-{index:04d}"
            speaker = _draw_speaker(_rng(voices.seed, "beside", split, index), voices, split)
            people.append((name, speaker))
            says[name] = [*own, *others.said_by(name)]
    noises = _make_noises(voices) | {"babble": _make_babble(voices)}
    with written_whole(target) as partial, tarfile.open(partial, "w") as archive:
        remarks += _add_clips(archive, COMPUTED, people, says, noises=noises, voices=voices)
    print(*remarks, sep="\n", end="\n" * bool(remarks))
    return _clips(COMPUTED, people, says)


def write_other_speech(target: Path, words: Sequence[str], voices: Voices) -> list[Clip]:
    """Writes a tar archive of words that training does not hear, by speakers of validation and of the test alone.

    Names begin with `_other_speech_/`, so that they are none of the data set's.

    Args:
        target: the archive, not compressed.
        words: English ones; half of them are for validation, half for the test, and a speaker says all of a half.
        voices: the speakers, every other one for the test; their seed gives others than in a corpus.

    Returns:
        The clips; `split` is validation or test.

    Raises:
        UserError: eSpeak NG cannot be loaded.
    """
    espeak.check_installed(
        "dataset: a data set with few other words", "add recordings of other words, in folders of their own"
    )
    people = [
        (f"computed-{index:02d}", _draw_speaker(_rng(voices.seed, "other speech", index), voices, split))
        for index, split in zip(range(voices.speakers), itertools.cycle(UNHEARD))
    ]
    words_of = dealt_words(words)
    says = {name: words_of[speaker.split] for name, speaker in people}
    with written_whole(target) as partial, tarfile.open(partial, "w") as archive:
        _add_clips(archive, OTHER_SPEECH, people, says, noises=_make_noises(voices), voices=voices)
    return _clips(OTHER_SPEECH, people, says)


def _clips(folder: str, people: Sequence[tuple[str, _Speaker]], says: Mapping[str, Sequence[str]]) -> list[Clip]:
    """The clips that `_add_clips` writes, in its order."""
    return [
        Clip(f"{folder}{_name(name, word)}", word, name, speaker.split)
        for name, speaker in people
        for word in says[name]
    ]


def _name(speaker: str, word: str) -> str:
    return f"{word}/{speaker}{NOHASH}0.wav"


def _add_clips(  # noqa: PLR0913 (clips depend on all of them)
    archive: tarfile.TarFile,
    folder: str,
    people: Sequence[tuple[str, _Speaker]],
    says: Mapping[str, Sequence[str]],
    *,
    noises: Mapping[str, np.ndarray],
    voices: Voices,
) -> list[str]:
    """Adds the clips of all speakers, in their order; on all cores. Memory does not grow with their number.

    Returns:
        A line for each kind of clips that are not as one would expect.
    """
    network = hibari.Neural() if voices.neural_share else None
    speakers = dict(people)
    parts = {split: {name: part_of(noise, split, voices.clip) for name, noise in noises.items()} for split in SPLITS}
    takes = [(name, word) for name in speakers for word in says[name]]
    replaced, cut = Counter[str](), Counter[str]()
    with tqdm(total=len(takes), desc="speaking", unit=" clips", disable=None) as progress:
        # threads are enough, since eSpeak NG runs in processes
        recordings = map_in_order(
            lambda task: _record(task, speakers, network, parts, voices), takes, _TASK, os.cpu_count() or 1
        )
        for recorded in recordings:
            for (name, word), clip in recorded.clips.items():
                _add(archive, folder + _name(name, word), clip)
            replaced.update(recorded.replaced)
            cut.update(recorded.cut)
            progress.update(len(recorded.clips))
    remarks = []
    if replaced:
        remarks.append(
            f"{replaced.total()} of {len(takes)} clips are spoken by another voice, since eSpeak NG crashes or is "
            f"silent at {_counted(replaced)}"
        )
    if cut:
        remarks.append(
            f"{cut.total()} of {len(takes)} clips end before the word does, since the fastest pace is too slow for "
            f"clip_seconds {voices.clip_seconds:g}: {_counted(cut)}"
        )
    return remarks


def _counted(names: Counter[str]) -> str:
    return first_names((f"{name} ({count})" for name, count in names.most_common()), pronunciation.LISTED)


def _rng(*key: str | int) -> np.random.Generator:
    """A random generator for each key, so that nothing depends on an order."""
    return np.random.default_rng(list(hashlib.sha256(repr(key).encode()).digest()))


def _draw_speakers(voices: Voices) -> list[tuple[str, _Speaker]]:
    """Name and speaker of each. The first speakers are the same for any number of speakers."""
    people: dict[str, _Speaker] = {}
    for index in range(voices.speakers):
        split = {8: "validation", 9: "test"}.get(index % 10, "train")
        speaker = _draw_speaker(_rng(voices.seed, "speaker", index), voices, split)
        # The split follows from the name, as in Speech Commands. With random names, few of a hundred speakers may be in
        # the test. So names are tried until one is in the split that the speaker is meant for.
        names = (hashlib.sha256(f"{astuple(speaker)} {i}".encode()).hexdigest()[:8] for i in itertools.count())
        people[next(name for name in names if speaker_split(name) == split and name not in people)] = speaker
    return list(people.items())


def _draw_others(name: str, others: Sequence[str], count: int) -> list[str]:
    """Which of the other words a speaker says."""
    return sorted(others, key=lambda word: hashlib.sha256(f"{name} {word}".encode()).digest())[:count]


def _draw_speaker(rng: np.random.Generator, voices: Voices, split: str) -> _Speaker:
    place = acoustics.Place.draw(rng, voices.variety)
    if rng.uniform() < voices.neural_share:
        return _Speaker(split, hibari.Voice.draw(rng, voices.variety), place)
    return _Speaker(split, _Voice.draw(rng, voices.variety, voices.accents(), split), place)


def _make_noises(voices: Voices) -> dict[str, np.ndarray]:
    """Background noises without a voice, by name: float64 (samples,), mean power 1."""
    seed, length = voices.seed, NOISE_SECONDS * SAMPLE_RATE
    seconds = np.arange(length) / SAMPLE_RATE

    def coloured(name: str, slope: float) -> np.ndarray:
        return coloured_noise(_rng(seed, name), length, slope, SAMPLE_RATE)

    harmonics = enumerate(_rng(seed, "hum").uniform(0.1, 1, 20), start=1)
    noises = {
        "white_noise": coloured("white_noise", 0),
        "pink_noise": coloured("pink_noise", -0.5),
        "rumble": coloured("rumble", -1),
        "hum": sum(gain / n * np.sin(2 * np.pi * 50 * n * seconds) for n, gain in harmonics)
        + 0.05 * coloured("hum", 0),
    }
    return {name: noise / np.sqrt(np.mean(noise**2)) for name, noise in noises.items()}


def _make_babble(voices: Voices) -> np.ndarray:
    """Eight voices read the same story, each from another point of it: float64 (samples,), mean power 1.

    They are not in the data set. Their variants are training's, since all splits hear a part of the noise.
    """
    length = NOISE_SECONDS * SAMPLE_RATE
    rngs = {("babble", f"{index}"): _rng(voices.seed, "babble", index) for index in range(8)}
    accents = voices.accents()
    utterances = {key: _Voice.draw(rng, 1.0, accents, "train").utterance(_FABLE, 60, rng) for key, rng in rngs.items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # of processes: they read for a second
        readings = pool.map(lambda key: _speak({key: utterances[key]}, voices)[0][key], utterances)
        tracks = [soxr.resample(_samples(pcm), espeak.SAMPLE_RATE, SAMPLE_RATE) for pcm in readings]
    parts = [
        np.roll(np.resize(track / track.std(), length), rng.integers(length))
        for track, rng in zip(tracks, rngs.values(), strict=True)
    ]
    babble = np.stack(parts).sum(axis=0)
    return babble / np.sqrt(np.mean(babble**2))


_Key = tuple[str, str]  # of an utterance: who says what


def _speak(utterances: Mapping[_Key, espeak.Utterance], voices: Voices) -> tuple[dict[_Key, bytes], dict[_Key, str]]:
    """Speaks each utterance; where a voice crashes or is silent, another one of the same split speaks.

    Returns:
        The samples of each, and the names of the voices that had to be replaced.
    """
    spoken = dict(zip(utterances, espeak.speak(list(utterances.values())), strict=True))
    failed = {key: utterances[key].voice for key, pcm in spoken.items() if not any(pcm)}
    missing = list(failed)
    for attempt in range(_OTHER_VOICES):
        others = [
            _draw_name(_rng(voices.seed, "other voice", *key, attempt), voices.accents(), _split_of(failed[key]))
            for key in missing
        ]
        again = [utterances[key]._replace(voice=voice) for key, voice in zip(missing, others, strict=True)]
        spoken |= zip(missing, espeak.speak(again) if again else [], strict=True)
        missing = [key for key in missing if not any(spoken[key])]
    if missing:
        raise UserError(f"words: eSpeak NG makes no sound of {utterances[missing[0]].text!r}")
    return spoken, failed


def _split_of(voice: str) -> str:
    """The split that a voice's variant is for."""
    return next(split for split, variants in _VARIANTS_OF.items() if voice.partition("+")[2] in variants)


def _samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, dtype=np.int16) / 2**15


class _Recorded(NamedTuple):
    """Some clips, and what is not as one would expect."""

    clips: dict[_Key, bytes]  # WAV files
    replaced: list[str]  # word and voice
    cut: list[str]  # words


def _record(
    takes: Sequence[_Key],
    speakers: Mapping[str, _Speaker],
    network: hibari.Neural | None,
    noises: Mapping[str, Mapping[str, np.ndarray]],
    voices: Voices,
) -> _Recorded:
    """Some clips, those of a speaker next to each other; `noises` has those of each split."""
    rngs = {key: _rng(voices.seed, *key) for key in takes}
    texts = {word: pronunciation.text_of(word) for _, word in takes}
    utterances = {}
    for name, word in takes:
        voice, rng = speakers[name].voice, rngs[name, word]
        if isinstance(voice, _Voice):
            text = texts[word] + str(rng.choice(_ENDINGS))
            utterances[name, word] = voice.utterance(text, voices.longest, rng)
    spoken, failed = _speak(utterances, voices)
    recorded = _Recorded({}, [f"{word} as {voice}" for (_, word), voice in failed.items()], [])
    for name, of_speaker in itertools.groupby(takes, key=lambda key: key[0]):
        speaker = speakers[name]
        responses = acoustics.echo_of(speaker.place, voices.clip), acoustics.device_of(speaker.place, voices.clip)
        for _, word in of_speaker:
            rng = rngs[name, word]
            if isinstance(speaker.voice, hibari.Voice):
                assert network
                sound, rate = network.speak(texts[word], speaker.voice, voices.longest, rng), float(hibari.SAMPLE_RATE)
            else:
                sound, rate = _samples(spoken[name, word]), espeak.SAMPLE_RATE * speaker.voice.formants
            audible = np.flatnonzero(np.abs(sound) > _QUIET * np.abs(sound).max())
            sound = soxr.resample(sound[audible[0] : audible[-1] + 1], rate, SAMPLE_RATE)
            if len(sound) > voices.clip:
                recorded.cut.append(word)
            sound = _articulate(sound[: voices.clip], voices.variety, rng)
            clip = acoustics.record(
                sound,
                speaker.place,
                responses,
                noises[speaker.split],
                clip=voices.clip,
                variety=voices.variety,
                rng=rng,
            )
            recorded.clips[name, word] = _wav(clip)
    return recorded


def _articulate(voice: np.ndarray, variety: float, rng: np.random.Generator) -> np.ndarray:
    """Makes the start and the end of a word softer, since people pronounce them less clearly than computers."""
    starts = np.arange(0, len(voice), _BLOCK)
    power = np.add.reduceat(voice**2, starts)
    loud = np.flatnonzero(power > power.max() * acoustics.gain(_LOUD_DB) ** 2)
    decibels = np.zeros(len(starts))
    decibels[: loud[0]] = variety * rng.uniform(*_BEFORE_DB)
    decibels[loud[-1] + 1 :] = variety * rng.uniform(*_AFTER_DB)
    return voice * 10 ** (np.interp(np.arange(len(voice)), starts + _BLOCK / 2, decibels) / 20)


def _wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # its default time, owner and mode are the same everywhere
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
