"""Rooms, microphones and codecs of the synthetic data set."""

from dataclasses import replace

import numpy as np
import pytest

from kws.download.voices import acoustics

CLIP = acoustics.SAMPLE_RATE  # samples
PLAIN = acoustics.Place(
    echo_seconds=0.3,
    echo=0.0,
    equaliser=(0.0,) * 7,
    low_cut=1.0,
    high_cut=20_000.0,
    gate_db=acoustics.NO_GATE,
    overload=0.01,
    seed=1,
)


def record(voice: np.ndarray, place: acoustics.Place, noise: float = 1e-9, clip: int = CLIP) -> np.ndarray:
    noises = {"noise": noise * np.random.default_rng(0).standard_normal(5 * clip)}
    responses = acoustics.echo_of(place, clip), acoustics.device_of(place, clip)
    return acoustics.record(voice, place, responses, noises, clip=clip, variety=1.0, rng=np.random.default_rng(4))


def tone(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(8000) / acoustics.SAMPLE_RATE)


def level(sound: np.ndarray, hertz: float) -> float:
    """Of a frequency, in dB."""
    return 20 * np.log10(np.abs(np.fft.rfft(sound))[round(hertz * len(sound) / acoustics.SAMPLE_RATE)])


@pytest.mark.parametrize("clip", [CLIP, 2 * CLIP])
def test_a_plain_place_changes_nothing_but_time_and_level(clip):
    voice = tone(500)
    sound = record(voice, PLAIN, clip=clip)
    assert sound.shape == (clip,)
    start = np.argmax(np.abs(sound) > 1e-3 * np.abs(sound).max()) - 1
    found = sound[start : start + len(voice)] / np.abs(sound).max()
    assert np.abs(found - voice).max() < 2e-3


def test_an_equaliser_acts_where_it_should():
    both = tone(250) + tone(2000)
    place = replace(PLAIN, equaliser=(0.0, -12.0, 0.0, 0.0, 6.0, 0.0, 0.0))
    plain, changed = record(both, PLAIN), record(both, place)
    difference = (level(changed, 2000) - level(changed, 250)) - (level(plain, 2000) - level(plain, 250))
    assert difference == pytest.approx(18, abs=0.2)


@pytest.mark.parametrize(("cut", "kept", "lost"), [({"low_cut": 400.0}, 1500, 100), ({"high_cut": 4000.0}, 1500, 6000)])
def test_a_device_has_limits(cut, kept, lost):
    sound = record(tone(kept) + tone(lost), replace(PLAIN, **cut))
    assert level(sound, kept) - level(sound, lost) > 30


def test_a_room_is_heard_after_the_voice():
    voice = tone(500)[:1600]
    dry, wet = (record(voice, replace(PLAIN, echo=echo)) for echo in (0.0, 0.4))
    end = np.flatnonzero(np.abs(dry) > 1e-3 * np.abs(dry).max())[-1]
    after = slice(end + 100, end + 1600)
    assert np.mean(wet[after] ** 2) / np.max(wet**2) > 1e-3 > 1e3 * np.mean(dry[after] ** 2) / np.max(dry**2)


def test_a_codec_takes_away_what_is_weak_and_nothing_else():
    sound = np.tile(tone(500), 2) + 1e-2 * np.random.default_rng(2).standard_normal(16_000)
    gated = acoustics._gate(sound, 0.1)
    assert level(gated, 500) == pytest.approx(level(sound, 500), abs=0.2)
    assert np.abs(acoustics._gate(sound, 0) - sound).max() < 1e-12
    assert level(gated[4000:12_000], 3000) < level(sound[4000:12_000], 3000) - 10  # away from both ends
