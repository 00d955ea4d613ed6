"""A data set for trying the machinery: any words, spoken by the voices of eSpeak NG with sounds in the background."""

import hashlib
import io
import itertools
import os
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from kws import espeak
from kws.corpus import speaker_split
from kws.errors import UserError
from kws.files import written_whole

SAMPLE_RATE = 16_000  # Hz, as in Speech Commands
CLIP = SAMPLE_RATE  # samples: every clip lasts 1 s
NOISE_SECONDS = 10
BACKGROUND = "_background_noise_"

_ACCENTS = "en en-029 en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-gb-x-rp en-us en-us-nyc".split()  # noqa: SIM905 (reads better)
# The variants of eSpeak NG 1.52 that could be people, without near copies
_VARIANTS = (  # noqa: SIM905 (as above)
    "Alex Alicia Andrea Andy Annie AnxiousAndy Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael "
    "Mike Nguyen Reed adam anika antonio aunty belinda boris caleb croak david ed edward f1 f2 f3 f4 f5 "
    "grandma grandpa gustave ian iven john kaukovalta klatt klatt2 klatt3 linda m1 m2 m3 m4 m5 m6 m7 m8 "
    "marcelo max michel miguel norbert pablo paul pedro quincy rob robert sandro shelby steph travis victor "
    "whisper zac"
).split()
_LONGEST = 0.8  # seconds a word may take before it is spoken faster
_SNR_DB = (20.0, 45.0)  # with 120 speakers, the small network gets about 90 % right
_PEAK_DB = (-12.0, -1.0)  # of full scale
_GROUP = 10  # speakers that share a process of eSpeak NG; has no influence on the result
_FFT = 2 * CLIP  # room for a clip and its echo

# Aesop's fable that phoneticians compare accents with (Handbook of the International Phonetic Association, 1999)
_FABLE = (
    "The north wind and the sun were disputing which was the stronger, when a traveler came along wrapped in a "
    "warm cloak. They agreed that the one who first succeeded in making the traveler take his cloak off should "
    "be considered stronger."
)


@dataclass(frozen=True)
class _Speaker:
    """A voice and the place it is recorded in."""

    voice: str
    rate: int  # words a minute
    pitch: int  # 0 to 100
    pitch_range: int  # 0 to 100
    formants: float  # times those of the voice: the shorter the vocal tract, the higher
    tilt_db: float  # of the microphone, per octave
    low_cut: float  # Hz, below which the microphone gets deaf
    echo_seconds: float  # in which the room's echo falls by 60 dB
    echo: float  # its loudness beside the voice
    seed: int  # of the room

    def utterance(self, text: str, longest: float, rng: np.random.Generator) -> espeak.Utterance:
        """How this speaker says a text this time."""
        return espeak.Utterance(
            text,
            self.voice,
            rate=round(self.rate * rng.uniform(0.9, 1.1)),
            pitch=int(np.clip(self.pitch + rng.normal(0, 6), 0, 99)),
            pitch_range=int(np.clip(self.pitch_range + rng.normal(0, 10), 0, 99)),
            longest=longest,
            seed=int(rng.integers(2**31)),
        )


def write_corpus(target: Path, words: Sequence[str], speakers: int, seed: int) -> None:
    """Writes a tar archive like that of Speech Commands, in which every speaker says every word once.

    It holds `<word>/<speaker>_nohash_0.wav` and `_background_noise_/<noise>.wav`, 16-bit mono at 16 kHz. Same
    arguments, same bytes; a clip does not change with the other words, nor with the number of speakers.

    Args:
        target: the archive, not compressed.
        words: anything that eSpeak NG can say in English; what takes longer than a second is cut off.
        speakers: of ten, one is for validation and one for testing, from the ninth and tenth on.
        seed: of the voices, the rooms and the noises.

    Raises:
        UserError: eSpeak NG does not work here, or makes no sound of a word.
    """
    espeak.check_installed()
    people = _draw_speakers(speakers, seed)
    groups = [people[first : first + _GROUP] for first in range(0, speakers, _GROUP)]
    noises = _make_noises(seed)
    with (
        written_whole(target) as partial,
        tarfile.open(partial, "w") as archive,
        ThreadPoolExecutor(os.cpu_count()) as pool,  # threads, since the voices come from processes already
        tqdm(total=speakers, desc="speaking", unit=" speakers", disable=None) as progress,
    ):
        for name, noise in noises.items():
            _add(archive, f"{BACKGROUND}/{name}.wav", noise * _gain(-1) / np.abs(noise).max())
        recordings = pool.map(lambda group: _record(group, words, noises, seed), groups)
        for group, clips in zip(groups, recordings, strict=True):
            for name, clip in clips.items():
                _add(archive, name, clip)
            progress.update(len(group))


def _rng(*key: str | int) -> np.random.Generator:
    """Random numbers of their own for whatever the key names, so that nothing depends on an order."""
    return np.random.default_rng(list(hashlib.sha256(repr(key).encode()).digest()))


def _draw_speakers(count: int, seed: int) -> list[tuple[str, _Speaker]]:
    """Who speaks: name and speaker, the first ones the same however many there are."""
    people: dict[str, _Speaker] = {}
    for index in range(count):
        speaker = _draw_speaker(_rng(seed, "speaker", index))
        split = {8: "validation", 9: "test"}.get(index % 10, "train")
        # A name decides on the split, as with Speech Commands. Left to chance, a hundred names may leave hardly any
        # speaker to test with: so names are tried until one falls into the split that the speaker is meant for.
        names = (hashlib.sha256(f"{astuple(speaker)} {i}".encode()).hexdigest()[:8] for i in itertools.count())
        people[next(name for name in names if speaker_split(name) == split and name not in people)] = speaker
    return list(people.items())


def _draw_speaker(rng: np.random.Generator) -> _Speaker:
    return _Speaker(
        voice=f"{rng.choice(_ACCENTS)}+{rng.choice(_VARIANTS)}",
        rate=int(rng.integers(135, 186)),
        pitch=int(rng.integers(25, 76)),
        pitch_range=int(rng.integers(20, 81)),
        formants=rng.uniform(0.95, 1.05),
        tilt_db=rng.uniform(-2, 2),
        low_cut=rng.uniform(50, 400),
        echo_seconds=rng.uniform(0.1, 0.6),
        echo=rng.uniform(0, 0.3),
        seed=int(rng.integers(2**31)),
    )


def _make_noises(seed: int) -> dict[str, np.ndarray]:
    """Sounds for the background, by name: float64 (samples,), mean power 1."""
    length = NOISE_SECONDS * SAMPLE_RATE
    seconds = np.arange(length) / SAMPLE_RATE
    frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE).clip(20)

    def coloured(name: str, slope: float) -> np.ndarray:
        return np.fft.irfft(np.fft.rfft(_rng(seed, name).standard_normal(length)) * frequency**slope, length)

    harmonics = enumerate(_rng(seed, "hum").uniform(0.1, 1, 20), start=1)
    noises = {
        "white_noise": coloured("white_noise", 0),
        "pink_noise": coloured("pink_noise", -0.5),
        "rumble": coloured("rumble", -1),
        "hum": sum(gain / n * np.sin(2 * np.pi * 50 * n * seconds) for n, gain in harmonics)
        + 0.05 * coloured("hum", 0),
        "babble": _make_babble(seed, length),
    }
    return {name: noise / np.sqrt(np.mean(noise**2)) for name, noise in noises.items()}


def _make_babble(seed: int, length: int) -> np.ndarray:
    """Eight people, none of them a speaker of the data set, telling the same story from different points on."""
    rngs = [_rng(seed, "babble", index) for index in range(8)]
    told = espeak.speak([_draw_speaker(rng).utterance(_FABLE, 60, rng) for rng in rngs])
    tracks = [soxr.resample(_samples(pcm), espeak.SAMPLE_RATE, SAMPLE_RATE) for pcm in told]
    voices = [
        np.roll(np.resize(track / track.std(), length), rng.integers(length))
        for track, rng in zip(tracks, rngs, strict=True)
    ]
    return np.stack(voices).sum(axis=0)


def _samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, dtype=np.int16) / 2**15


def _record(
    people: Sequence[tuple[str, _Speaker]], words: Sequence[str], noises: dict[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """The clips of some speakers, by their names in the archive: float64 (CLIP,), full scale = 1."""
    takes = [(name, speaker, word, _rng(seed, name, word)) for name, speaker in people for word in words]
    spoken = espeak.speak([speaker.utterance(word, _LONGEST, rng) for _, speaker, word, rng in takes])
    clips = {}
    for (name, speaker, word, rng), pcm in zip(takes, spoken, strict=True):
        if not any(pcm):
            raise UserError(f"words: eSpeak NG makes no sound of {word!r}; write it the way it is spoken")
        clips[f"{word}/{name}_nohash_0.wav"] = _take(_samples(pcm), speaker, noises, rng)
    return clips


def _take(voice: np.ndarray, speaker: _Speaker, noises: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """One second with a word somewhere in it, as the speaker's room and microphone give it."""
    voice = soxr.resample(voice, espeak.SAMPLE_RATE * speaker.formants, SAMPLE_RATE)[:CLIP]
    start = round((CLIP - len(voice)) * rng.uniform(0.35, 0.65))
    sound = np.fft.irfft(np.fft.rfft(voice, _FFT) * _room(speaker), _FFT)[: CLIP - start]
    noise = noises[rng.choice(list(noises))]
    first = rng.integers(len(noise) - CLIP)
    clip = noise[first : first + CLIP] * np.sqrt(np.mean(sound[: len(voice)] ** 2)) / _gain(rng.uniform(*_SNR_DB))
    clip[start:] += sound
    return clip * _gain(rng.uniform(*_PEAK_DB)) / np.abs(clip).max()


def _gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _room(speaker: _Speaker) -> np.ndarray:
    """Frequency response from a speaker's mouth to the file: decaying noise for the echo, then the microphone."""
    rng = np.random.default_rng(speaker.seed)
    seconds = np.arange(CLIP) / SAMPLE_RATE
    echo = rng.standard_normal(CLIP) * _gain(-60) ** (seconds / speaker.echo_seconds)
    echo *= speaker.echo / np.sqrt(np.sum(echo**2))
    echo[0] += 1
    frequency = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    low_cut = 1 / (1 + (speaker.low_cut / frequency.clip(1)) ** 4)
    return np.fft.rfft(echo, _FFT) * low_cut * _gain(speaker.tilt_db) ** np.log2(frequency.clip(100) / 1000)


def _add(archive: tarfile.TarFile, name: str, samples: np.ndarray) -> None:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    member = tarfile.TarInfo(name)  # time, owner and mode as TarInfo has them: the same everywhere
    member.size = file.tell()
    file.seek(0)
    archive.addfile(member, file)
