"""Makes many voices from that of Hibari, a small neural network that reads text aloud (PyPI: hibari-tts).

For every 12.5 ms, the network gives the strength of each frequency of the voice, and separately its pitch. So pitch,
vocal tract, breath and timing can be changed separately, before the waveform is computed.
"""

from dataclasses import dataclass

import numpy as np

from kws.core.errors import UserError

SAMPLE_RATE = 24_000  # Hz
_FRAMES_A_SECOND = 80
_VOICED = 40.0  # Hz, the lowest pitch: lower values mean that there is no pitch
_FORMANTS_HZ = (500.0, 1500.0, 4000.0)
_QUIET_DB = -40.0  # relative to the loudest frame: softer frames before and after a word are silence
_ENDINGS = ("", ".", "!", "?", ",")


@dataclass(frozen=True)
class Voice:
    """How a speaker's voice differs from Hibari's."""

    pitch: float  # Hz
    pitch_range: float  # relative to Hibari's
    formants: tuple[float, ...]  # at 500, 1500 and 4000 Hz, relative to Hibari's: vocal tract and accent
    pace: float  # relative to Hibari's
    breath_db: float  # level of the noise in the voice, relative to Hibari's

    @classmethod
    def draw(cls, rng: np.random.Generator, variety: float) -> "Voice":
        """Draws a voice, from a big man (size -2) to a child (size 2). Pitch and vocal tract are correlated."""
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
    """The network, loaded once; several threads may call `speak`.

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
        """Speaks a text, with small random differences.

        Args:
            text: a word or a few.
            voice: who says it.
            longest: seconds; a longer utterance is spoken faster.
            rng: of the differences.

        Returns:
            float64 (samples,) at `SAMPLE_RATE`.

        Raises:
            UserError: Hibari cannot read the text.
        """
        phonemes = self._read(text)
        if not any(map(str.isalpha, phonemes)):
            raise UserError(
                f"words: Hibari cannot read {text!r}; write it the way it is spoken, or set neural_share to 0"
            )
        if rng.uniform() < 0.7:  # Hibari stresses go, down and up less, as in a sentence
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
    """The frames to play: those of the word, without silence, at a varying pace."""
    power = sum(np.exp(2 * part).sum(axis=0) for part in (harmonic, noise, rest))
    first, *_, last = np.flatnonzero(power > power.max() * 10 ** (_QUIET_DB / 10))
    frames = min((last - first + 1) * rng.uniform(0.9, 1.1), longest * _FRAMES_A_SECOND)
    steps = np.interp(np.linspace(0, 3, round(frames)), np.arange(4), np.exp(rng.normal(0, 0.25, 4)))
    return first + (last - first) * np.cumsum(steps) / steps.sum()


def _bins(formants: tuple[float, ...], count: int) -> np.ndarray:
    """The position in Hibari's spectrum for each frequency: float64 (count,)."""
    hertz = np.arange(count) * SAMPLE_RATE / 2 / (count - 1)
    factors = np.interp(np.log(hertz.clip(1)), np.log(_FORMANTS_HZ), np.log(formants))
    return (np.arange(count) / np.exp(factors)).clip(0, count - 1)


def _repitch(pitch: np.ndarray, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Changes height, range and slope of the pitch: float64 (frames,) in Hz; 0: no pitch."""
    voiced = pitch > _VOICED
    if not voiced.any():
        return pitch
    melody = np.log(pitch.clip(_VOICED) / np.median(pitch[voiced])).clip(-1, 1)
    slope = np.linspace(-0.5, 0.5, len(pitch)) * rng.normal(-0.1, 0.3)
    height = voice.pitch * np.exp(rng.normal(0, 0.08))
    return np.where(voiced, (height * np.exp(voice.pitch_range * melody + slope)).clip(_VOICED + 10, 600), 0)


def _interpolate(part: np.ndarray, bins: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Linear interpolation of (bins, frames): float32 (bins, times)."""
    for axis, positions in ((0, bins), (1, times)):
        low = np.minimum(positions.astype(int), part.shape[axis] - 2)
        weight = np.expand_dims((positions - low).astype(np.float32), 1 - axis)
        part = np.take(part, low, axis) * (1 - weight) + np.take(part, low + 1, axis) * weight
    return part
