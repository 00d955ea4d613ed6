import numpy as np
import pytest
from conftest import ROOT
from encode import tone

from kws.audio.cut import LONGER, SEVERAL, SOFTER, STEP_SECONDS, Cuts, clip_starts, speech_interval, touches_edge
from kws.audio.decode import decode_recording

RATE = 16_000
WORD_SECONDS = 0.45


def word(seed: int, seconds: float = WORD_SECONDS) -> np.ndarray:
    """Something like a word: a voice of many harmonics that swells and fades, and closes once in between."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = rng.uniform(90, 250)
    voice = sum(np.sin(2 * np.pi * pitch * n * time + rng.uniform(0, 6)) / n for n in range(1, 12))
    level = np.sin(np.pi * time / seconds) ** 0.5
    closure = rng.uniform(0.4, 0.5) * seconds
    level[(time > closure) & (time < closure + 0.08)] *= 0.003
    return (0.1 * level * voice).astype(np.float32)


def recording(seconds: float, words: list[float], seed: int = 0, noise: float = 0.003) -> np.ndarray:
    """Noise of a room, and words that begin at these seconds."""
    samples = noise * np.random.default_rng(seed).normal(size=round(seconds * RATE))
    for number, start in enumerate(words):
        first = round(start * RATE)
        samples[first : first + round(WORD_SECONDS * RATE)] += word(seed + number)
    return samples.astype(np.float32)


@pytest.mark.parametrize("seconds", [2, 4, 8])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.003, 0.01])
def test_the_word_is_found_wherever_it_is_and_stands_in_the_middle(seconds, noise):
    rng = np.random.default_rng(seconds)
    for seed in range(10):
        spoken = rng.uniform(0, seconds - WORD_SECONDS)
        [start] = clip_starts(recording(seconds, [spoken], seed, noise), RATE, RATE, "word").starts
        assert start <= spoken + 0.03
        assert start + 1 >= spoken + WORD_SECONDS - 0.03
        middle = min(max(spoken - (1 - WORD_SECONDS) / 2, 0), seconds - 1)
        assert start == pytest.approx(middle, abs=0.12)


def test_a_clip_starts_at_a_whole_block_and_ends_within_the_recording():
    for seed, seconds in enumerate((1.001, 1.0349, 2.5, 3.333)):
        for spoken in (0.0, seconds - WORD_SECONDS - 0.001):
            [start] = clip_starts(recording(seconds, [spoken], seed), RATE, RATE, "word").starts
            assert start / STEP_SECONDS == pytest.approx(round(start / STEP_SECONDS), abs=1e-9)
            assert 0 <= round(start * RATE) <= round(seconds * RATE) - RATE


def test_of_several_words_the_loudest_is_taken():
    samples = recording(6, [0.5, 4.0])
    samples[round(2.2 * RATE) :][: round(WORD_SECONDS * RATE)] += 3 * word(9)
    [start] = clip_starts(samples, RATE, RATE, "word").starts
    assert start == pytest.approx(2.2 - (1 - WORD_SECONDS) / 2, abs=0.1)


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_each_take_becomes_a_clip(noise):
    spoken = [0.4, 1.9, 3.1, 4.9, 6.4]
    starts = clip_starts(recording(8, spoken, 3, noise), RATE, RATE, "takes").starts
    assert starts == pytest.approx(tuple(at - (1 - WORD_SECONDS) / 2 for at in spoken), abs=0.12)


def test_a_take_that_is_far_softer_is_none():
    samples = recording(4, [0.5], noise=1e-4)
    samples[round(2.5 * RATE) :][: round(WORD_SECONDS * RATE)] += 0.04 * word(5)  # -28 dB
    assert len(clip_starts(samples, RATE, RATE, "takes").starts) == 1
    samples[round(2.5 * RATE) :][: round(WORD_SECONDS * RATE)] += 0.3 * word(5)
    assert len(clip_starts(samples, RATE, RATE, "takes").starts) == 2


@pytest.mark.parametrize("cut", ["start", "word", "takes"])
def test_a_recording_no_longer_than_a_clip_is_the_clip(cut):
    for seconds in (0.2, 1.0):
        assert clip_starts(np.zeros(round(seconds * RATE), np.float32), RATE, RATE, cut) == Cuts((0,))


def test_the_start_is_the_start_whatever_is_said():
    assert clip_starts(recording(8, [5.0]), RATE, RATE, "start").starts == (0,)


@pytest.mark.parametrize("cut", ["word", "takes"])
@pytest.mark.parametrize("level", [1e-4, 0.003, 0.1])
def test_in_even_noise_there_is_no_word(cut, level):
    for seed in range(20):
        assert clip_starts(recording(4, [], seed, level), RATE, RATE, cut) == Cuts(())
    hum = level * tone(RATE, 4, 50) + recording(4, [], 1, level / 100)
    assert clip_starts(hum, RATE, RATE, cut) == Cuts(())


@pytest.mark.parametrize("cut", ["word", "takes"])
def test_a_click_is_shorter_than_a_word(cut):
    samples = recording(4, [], 1)
    samples[RATE : RATE + 160] += 0.9  # 10 ms
    assert clip_starts(samples, RATE, RATE, cut) == Cuts(())
    samples += recording(4, [2.5], 1, noise=0)
    [start] = clip_starts(samples, RATE, RATE, cut).starts
    assert start == pytest.approx(2.5 - (1 - WORD_SECONDS) / 2, abs=0.12)


def knock(rng: np.random.Generator) -> np.ndarray:
    """A knock on a table, louder than the words, that fades within 50 to 120 ms."""
    samples = round(rng.uniform(0.05, 0.12) * RATE)
    return rng.uniform(0.3, 0.9) * rng.normal(size=samples) * np.exp(-3 * np.arange(samples) / samples)


@pytest.mark.parametrize("place", [0.05, 2.8])
def test_a_knock_is_not_taken_for_the_word(place):
    for seed in range(20):
        samples = recording(3, [1.3], seed)
        tap = knock(np.random.default_rng(seed))
        samples[round(place * RATE) :][: len(tap)] += tap
        [start] = clip_starts(samples, RATE, RATE, "word").starts
        assert start == pytest.approx(1.3 - (1 - WORD_SECONDS) / 2, abs=0.12)
        takes = clip_starts(samples, RATE, RATE, "takes")
        assert takes.starts == (start,)
        assert takes.remarks == (LONGER, f"{SOFTER}: 1")


def test_a_short_word_alone_is_found():
    samples = recording(3, [], 1)
    samples[round(1.3 * RATE) :][: round(0.1 * RATE)] += word(1, 0.1)
    [start] = clip_starts(samples, RATE, RATE, "word").starts
    assert start == pytest.approx(0.85, abs=0.05)


def test_what_of_a_recording_is_left_out_is_said():
    one, five = recording(4, [2.0]), recording(8, [0.4, 1.9, 3.1, 4.9, 6.4])
    assert clip_starts(one, RATE, RATE, "start").remarks == (LONGER,)
    assert clip_starts(one, RATE, RATE, "word").remarks == (LONGER,)
    assert clip_starts(one, RATE, RATE, "takes").remarks == (LONGER,)
    assert clip_starts(five, RATE, RATE, "word").remarks == (LONGER, f"{SEVERAL}: 5")
    assert clip_starts(five, RATE, RATE, "takes").remarks == (LONGER,)
    five = recording(8, [0.4, 1.9, 3.1, 6.4], noise=1e-4)
    five[round(4.9 * RATE) :][: round(WORD_SECONDS * RATE)] += 0.04 * word(5)
    assert clip_starts(five, RATE, RATE, "word").remarks == (LONGER, f"{SEVERAL}: 4")
    assert clip_starts(five, RATE, RATE, "takes").remarks == (LONGER, f"{SOFTER}: 1")


def test_of_a_word_that_is_longer_than_the_clip_the_loudest_part_is_taken():
    samples = 0.001 * np.random.default_rng(0).normal(size=5 * RATE).astype(np.float32)
    level = np.where((np.arange(2 * RATE) > 0.7 * RATE) & (np.arange(2 * RATE) < 1.5 * RATE), 1, 0.2)
    samples[2 * RATE : 4 * RATE] += (0.3 * level * tone(RATE, 2, 300)).astype(np.float32)
    for cut in ("word", "takes"):
        [start] = clip_starts(samples, RATE, RATE, cut).starts
        assert 2.5 - 0.05 <= start <= 2.7 + 0.05


@pytest.mark.parametrize("rate", [4000, 8000, 11_025, 44_100])
def test_other_rates_find_the_same_place(rate):
    import soxr

    samples = soxr.resample(recording(4, [2.3]), RATE, rate)
    [start] = clip_starts(samples, rate, rate, "word").starts
    assert start == pytest.approx(2.3 - (1 - WORD_SECONDS) / 2, abs=0.12)


def frames(levels: list[float]) -> np.ndarray:
    return np.array(levels, float)


def test_a_word_in_the_middle_of_a_clip_touches_no_edge():
    assert not touches_edge(frames([-60] * 30 + [-20] * 40 + [-60] * 30))
    assert not touches_edge(frames([-60] * 100))


@pytest.mark.parametrize(
    "levels", [[-20] * 40 + [-60] * 60, [-60] * 60 + [-20] * 40, [-60] * 30 + [-20] * 40 + [-60] * 29 + [-30]]
)
def test_a_word_that_is_cut_off_touches_the_edge(levels):
    assert touches_edge(frames(levels))


LATE = ROOT.parent / "shared" / "field" / "sounds" / "late_2s.wav"


@pytest.mark.skipif(not LATE.exists(), reason=f"needs the recording {LATE}")
def test_in_a_recording_from_the_field_the_word_after_a_second_is_found():
    samples = decode_recording(LATE.read_bytes(), RATE).samples
    [start] = clip_starts(samples, RATE, RATE, "word").starts
    energy = np.cumsum(np.square(samples, dtype=np.float64))
    first, last = np.searchsorted(energy, [0.02 * energy[-1], 0.98 * energy[-1]]) / RATE
    assert first > 1
    assert start < first
    assert last < start + 1


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.003])
@pytest.mark.parametrize(("seconds", "words"), [(1, [0.3]), (2, [0.05]), (3, [0.6, 1.9])])
def test_speech_starts_with_the_first_word_and_ends_with_the_last_one(seconds, words, noise):
    start, end = speech_interval(recording(seconds, words, noise=noise), RATE)
    assert start == pytest.approx(words[0], abs=0.04)
    assert end == pytest.approx(words[-1] + WORD_SECONDS, abs=0.04)


def test_a_soft_end_is_speech_down_to_so_many_decibels_below_the_peak():
    sound = recording(2, [0.5], noise=1e-5)
    soft = slice(round((0.5 + WORD_SECONDS) * RATE), round((0.7 + WORD_SECONDS) * RATE))
    sound[soft] += 0.05 * recording(2, [0.5 + WORD_SECONDS])[soft] / np.sqrt(2)  # about 25 dB softer
    ends = [speech_interval(sound, RATE, *below)[1] for below in ((), (30.0,), (20.0,))]
    assert ends[0] == ends[1] == pytest.approx(0.7 + WORD_SECONDS, abs=0.04)
    assert ends[2] == pytest.approx(0.5 + WORD_SECONDS, abs=0.04)


@pytest.mark.parametrize("sound", [np.zeros(RATE), np.random.default_rng(0).normal(size=RATE)])
def test_where_no_speech_stands_out_the_whole_is_taken_for_speech(sound):
    assert speech_interval(sound.astype(np.float32), RATE) == (0.0, 1.0)
