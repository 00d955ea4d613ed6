"""Simulates how a voice is recorded: room, noise, microphone, codec, recording level."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 16_000  # Hz, as in Speech Commands
NO_GATE = -200.0  # dB, lower than anything in a file

_EQUALISER_HZ = 125 * 2.0 ** np.arange(7)
_SNR_DB, _MORE_OR_LESS_DB = 30.0, (-20.0, 20.0)
_SOFTEST_DB = -29.0  # relative to the loudest recording
_CUT_OFF = 400  # samples by which a word may reach over the start or the end of a clip
_FRAME = 512  # samples, of the codec


@dataclass(frozen=True)
class Place:
    """The room and the device in which somebody is recorded."""

    echo_seconds: float  # time in which the room's echo falls by 60 dB
    echo: float  # its loudness relative to the voice
    equaliser: tuple[float, ...]  # dB at 125 Hz and each octave above: microphones differ
    low_cut: float  # Hz, below which the microphone is less sensitive
    high_cut: float  # Hz, above which the codec or the line carries nothing
    gate_db: float  # relative to the loudest; softer sound is removed, as by codecs and noise suppressors
    overload: float  # relative to the level at which the microphone's amplifier saturates
    seed: int  # of the echo

    @classmethod
    def draw(cls, rng: np.random.Generator, variety: float) -> "Place":
        """Draws a place. `variety`, 0 to 1: how far it may be from a quiet room and a good microphone."""
        muffled, gated, overloaded = rng.uniform(size=3) < variety * np.array([1 / 3, 1 / 3, 1 / 2])
        return cls(
            echo_seconds=rng.uniform(0.1, 0.7),
            echo=rng.uniform(0, 0.4) * variety,
            equaliser=tuple((rng.normal(0, 3, len(_EQUALISER_HZ)) * variety).tolist()),
            low_cut=rng.uniform(40, 350),
            high_cut=rng.uniform(3400, 8000) if muffled else 10_000.0,
            gate_db=rng.uniform(-75, -45) if gated else NO_GATE,
            overload=rng.uniform(0.1, 3) if overloaded else 0.1,
            seed=int(rng.integers(2**31)),
        )


def echo_of(place: Place, clip: int) -> np.ndarray:
    """Frequency response of a room, for clips of so many samples: the voice, then decaying noise; complex128."""
    rng = np.random.default_rng(place.seed)
    seconds = np.arange(clip) / SAMPLE_RATE
    echo = rng.standard_normal(clip) * gain(-60) ** (seconds / place.echo_seconds)
    echo *= place.echo / np.sqrt(np.sum(echo**2))
    echo[0] += 1
    return np.fft.rfft(echo, _fft(clip))


def device_of(place: Place, clip: int) -> np.ndarray:
    """Frequency response of a microphone and of the line after it, for clips of so many samples: float64."""
    frequency = np.fft.rfftfreq(_fft(clip), 1 / SAMPLE_RATE).clip(1)
    equaliser = np.interp(np.log2(frequency), np.log2(_EQUALISER_HZ), place.equaliser)
    low_cut, high_cut = 1 + (place.low_cut / frequency) ** 4, 1 + (frequency / place.high_cut) ** 20
    return 10 ** (equaliser / 20) / low_cut / high_cut


def record(  # noqa: PLR0913 (a recording depends on all of them)
    voice: np.ndarray,
    place: Place,
    responses: tuple[np.ndarray, np.ndarray],
    noises: Mapping[str, np.ndarray],
    *,
    clip: int,
    variety: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A recording that contains a voice.

    Args:
        voice: float64 (samples,), no longer than the recording, without silence before and after it.
        place: of the recording.
        responses: of the place, for recordings of this length: `echo_of` and `device_of`.
        noises: possible background noises, each at least as long as the recording, mean power about 1.
        clip: samples of the recording.
        variety: 0 to 1, how loud the background, how soft the recording and how far from the middle the word may be.
        rng: of everything that differs from clip to clip.

    Returns:
        float64 (clip,), full scale = 1.
    """
    echo, device = responses
    power = np.mean(voice**2)
    spare = clip - len(voice)
    reach = variety * (spare / 2 + _CUT_OFF)
    start = round(spare / 2 + rng.uniform(-reach, reach))
    voice, start = voice[max(0, -start) :], max(0, start)
    padded = np.zeros(_fft(clip))
    padded[start : start + len(voice)] = voice
    noise = noises[rng.choice(list(noises))]
    first = rng.integers(len(noise) - clip + 1)
    noise = noise[first : first + clip] * np.sqrt(power) / gain(_SNR_DB + variety * rng.uniform(*_MORE_OR_LESS_DB))
    sound = np.fft.irfft((np.fft.rfft(padded) * echo + np.fft.rfft(noise, len(padded))) * device, len(padded))[:clip]
    sound /= np.abs(sound).max()
    sound = np.tanh(sound * place.overload)
    if place.gate_db > NO_GATE:
        sound = _gate(sound, gain(place.gate_db))
    return sound * gain(-1 + variety * rng.uniform(_SOFTEST_DB, 0)) / np.abs(sound).max()


def _fft(clip: int) -> int:
    """Length of a Fourier transform with room for a clip and its echo, in samples."""
    return 2 * clip


def _gate(sound: np.ndarray, share: float) -> np.ndarray:
    """Sets each point of the spectrogram to 0 that is weaker than a share of the loudest point."""
    window = np.sin(np.pi * (np.arange(_FRAME) + 0.5) / _FRAME)
    padded = np.pad(sound, _FRAME)
    starts = np.arange(0, len(padded) - _FRAME + 1, _FRAME // 2)
    spectrum = np.fft.rfft(padded[starts[:, None] + np.arange(_FRAME)] * window)
    loudness = np.abs(spectrum)
    frames = np.fft.irfft(np.where(loudness < share * loudness.max(), 0, spectrum)) * window
    halves = frames.reshape(len(frames), 2, -1)
    return np.concatenate([halves[:1, 0], halves[:-1, 1] + halves[1:, 0]]).ravel()[_FRAME : _FRAME + len(sound)]


def gain(decibels: float) -> float:
    """Decibels as a ratio of amplitudes."""
    return float(10 ** (decibels / 20))
