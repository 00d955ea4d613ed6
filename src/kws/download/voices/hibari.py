"""Voices of all kinds out of the one of Hibari, a small neural network that reads text aloud (PyPI: hibari-tts).

For every 12.5 ms, the network says how strong each frequency of a voice is, and apart from that how high it is. So
pitch, vocal tract, breath and timing can each be altered alone before a waveform is made.
"""

from dataclasses import dataclass

import numpy as np

from kws.core.errors import UserError

SAMPLE_RATE = 24_000  # Hz
_FRAMES_A_SECOND = 80
_VOICED = 40.0  # Hz, the lowest pitch: what is below is none
_FORMANTS_HZ = (500.0, 1500.0, 4000.0)
_QUIET_DB = -40.0  # of the loudest frame: softer ones before and after a word are silence
_ENDINGS = ("", ".", "!", "?", ",")


@dataclass(frozen=True)
class Voice:
    """Somebody made of Hibari's voice."""

    pitch: float  # Hz
    pitch_range: float  # times that of Hibari
    formants: tuple[float, ...]  # those at 500, 1500 and 4000 Hz, times Hibari's: the vocal tract, and the accent
    pace: float  # times that of Hibari
    breath_db: float  # what is noise in the voice, louder by this

    @classmethod
    def draw(cls, rng: np.random.Generator, variety: float) -> "Voice":
        """Anybody, from a big man at -2 to a child at 2: pitch and vocal tract go together, but not strictly."""
        size = variety * rng.normal()
        tract = 0.93 * np.exp(0.11 * size + variety * rng.normal(0, 0.05))
        return cls(
            pitch=float(np.clip(165 * np.exp(0.4 * size + variety * rng.normal(0, 0.12)), 70, 400)),
            pitch_range=1.1 + variety * rng.uniform(-0.9, 0.9),
            formants=tuple((tract * np.exp(variety * rng.normal(0, 0.05, 3))).tolist()),
            pace=0.825 + variety * rng.uniform(-0.325, 0.325),
            breath_db=variety * rng.normal(0, 5),
        )


class Neural:
    """Loads the network once; several threads may let it speak.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from hibari import Hibari, dsp
        except ImportError:
            raise UserError("neural_share: needs the package hibari-tts (pip install '.[neural]'), or 0") from None
        self._network, self._synthesise = Hibari(), dsp.synth
        self._read = self._network.g2p

    def speak(self, text: str, voice: Voice, longest: float, rng: np.random.Generator) -> np.ndarray:
        """Says a text, a little differently each time.

        Args:
            text: a word or a few.
            voice: who says it.
            longest: seconds it may take before it is spoken faster.
            rng: decides on all that differs from time to time.

        Returns:
            float64 (samples,) at `SAMPLE_RATE`.

        Raises:
            UserError: it cannot be read.
        """
        phonemes = self._read(text)
        if not any(map(str.isalpha, phonemes)):
            raise UserError(
                f"words: Hibari cannot read {text!r}; write it the way it is spoken, or set neural_share to 0"
            )
        if rng.uniform() < 0.7:  # it takes go, down and up for parts of a sentence, and stresses them less
            phonemes = phonemes.replace("ˌ", "ˈ")  # noqa: RUF001 (phonetic signs)
        ids = self._network.ids(phonemes + rng.choice(_ENDINGS))
        pace = float(np.clip(voice.pace * rng.uniform(0.85, 1.15), 0.5, 2))
        request = {"ids": np.array([ids]), "speed": np.array([pace], np.float32)}
        harmonic, turn, noise, rest, phase, pitch = (part[0] for part in self._network.sess.run(None, request))

        times = _times(harmonic, noise, rest, longest, rng)
        bins = _bins(voice.formants, len(harmonic))
        louder = np.float32(voice.breath_db / 8.686)  # nepers
        harmonic, turn, noise, rest = (_interpolate(part, bins, times) for part in (harmonic, turn, noise, rest))
        phase = phase[np.ix_(bins.round().astype(int), times.round().astype(int))]  # angles have no mean
        pitch = _repitch(np.interp(times, np.arange(len(pitch)), pitch), voice, rng)
        parts = (harmonic, turn, noise + louder, rest + louder, phase, pitch)
        return self._synthesise(*parts, rng).astype(np.float64)


def _times(
    harmonic: np.ndarray, noise: np.ndarray, rest: np.ndarray, longest: float, rng: np.random.Generator
) -> np.ndarray:
    """Which frames to play: those of the word alone, at a pace that wanders."""
    power = sum(np.exp(2 * part).sum(axis=0) for part in (harmonic, noise, rest))
    first, *_, last = np.flatnonzero(power > power.max() * 10 ** (_QUIET_DB / 10))
    frames = min((last - first + 1) * rng.uniform(0.9, 1.1), longest * _FRAMES_A_SECOND)
    steps = np.interp(np.linspace(0, 3, round(frames)), np.arange(4), np.exp(rng.normal(0, 0.25, 4)))
    return first + (last - first) * np.cumsum(steps) / steps.sum()


def _bins(formants: tuple[float, ...], count: int) -> np.ndarray:
    """Where in Hibari's spectrum to read each frequency: float64 (count,)."""
    hertz = np.arange(count) * SAMPLE_RATE / 2 / (count - 1)
    factors = np.interp(np.log(hertz.clip(1)), np.log(_FORMANTS_HZ), np.log(formants))
    return (np.arange(count) / np.exp(factors)).clip(0, count - 1)


def _repitch(pitch: np.ndarray, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """The same melody at another height, wider or flatter, rising or falling: float64 (frames,) in Hz, 0: none."""
    voiced = pitch > _VOICED
    if not voiced.any():
        return pitch
    melody = np.log(pitch.clip(_VOICED) / np.median(pitch[voiced])).clip(-1, 1)
    slope = np.linspace(-0.5, 0.5, len(pitch)) * rng.normal(-0.1, 0.3)
    height = voice.pitch * np.exp(rng.normal(0, 0.08))
    return np.where(voiced, (height * np.exp(voice.pitch_range * melody + slope)).clip(_VOICED + 10, 600), 0)


def _interpolate(part: np.ndarray, bins: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Reads (bins, frames) between its points, linearly: float32 (bins, times)."""
    for axis, positions in ((0, bins), (1, times)):
        low = np.minimum(positions.astype(int), part.shape[axis] - 2)
        weight = np.expand_dims((positions - low).astype(np.float32), 1 - axis)
        part = np.take(part, low, axis) * (1 - weight) + np.take(part, low + 1, axis) * weight
    return part
