import numpy as np
import pytest
from encode import encoded, sound_file, tone

from kws.audio.decode import UnusableClipError, decode_recording, read_blocks
from kws.audio.mono import Mono, check_sound, clipped_samples, few_values, why_silent

RATE = 16_000
SOUND = tone(RATE)


def mixed(samples: np.ndarray) -> tuple[np.ndarray, list[str]]:
    mono = Mono()
    return mono(samples.astype(np.float32)), mono.remarks


def test_one_channel_stays_as_it_is():
    for samples in (SOUND, SOUND[:, None]):
        heard, remarks = mixed(samples)
        np.testing.assert_array_equal(heard, SOUND)
        assert remarks == []


def test_a_channel_that_is_off_does_not_matter():
    heard, remarks = mixed(np.stack([np.zeros(RATE), SOUND], axis=1))
    np.testing.assert_allclose(heard, SOUND / 2)
    assert remarks == []


@pytest.mark.parametrize("softer", [-1.0, -0.9])
def test_where_channels_cancel_each_other_the_loudest_is_taken(softer):
    heard, remarks = mixed(np.stack([softer * SOUND, SOUND], axis=1))
    if softer == -1:  # equally loud: the first
        np.testing.assert_array_equal(heard, -SOUND)
        assert remarks == ["channel 1 of 2 alone: the channels cancel each other"]
    else:
        np.testing.assert_array_equal(heard, SOUND)
        assert remarks == ["channel 2 of 2 alone: the channels cancel each other"]


def test_channels_that_differ_are_mixed_though_they_are_not_alike():
    other = tone(RATE, hz=1000)
    heard, remarks = mixed(np.stack([SOUND, other, -SOUND, other], axis=1))
    np.testing.assert_allclose(heard, other / 2, atol=1e-7)
    assert remarks == []


def test_what_is_decided_at_the_first_sound_holds_for_the_blocks_after_it():
    mono = Mono()
    stereo = np.stack([SOUND, -SOUND], axis=1)
    np.testing.assert_array_equal(mono(np.zeros((100, 2), np.float32)), np.zeros(100))
    np.testing.assert_array_equal(mono(stereo), SOUND)
    np.testing.assert_array_equal(mono(stereo[:, ::-1]), -SOUND)
    np.testing.assert_array_equal(mono(np.stack([SOUND, SOUND], axis=1)), SOUND)
    assert mono.remarks == ["channel 1 of 2 alone: the channels cancel each other"]


def test_channels_that_begin_with_different_noise_and_then_cancel_each_other_are_heard():
    mono = Mono()
    noise = 1e-3 * np.random.default_rng(0).normal(size=(RATE, 2)).astype(np.float32)
    np.testing.assert_allclose(mono(noise), noise.mean(axis=1), atol=1e-9)
    np.testing.assert_array_equal(mono(np.stack([SOUND, -0.95 * SOUND], axis=1) + noise), SOUND + noise[:, 0])
    assert mono.remarks == ["channel 1 of 2 alone: the channels cancel each other"]


@pytest.mark.parametrize("common", [0.3, 0.1 * tone(RATE, hz=50)], ids=["offset", "hum"])
def test_what_both_channels_have_in_common_hides_no_channels_that_cancel_each_other(common):
    heard, remarks = mixed(np.stack([SOUND, -0.95 * SOUND], axis=1) + np.reshape(common, (-1, 1)))
    np.testing.assert_allclose(heard, SOUND + common, atol=1e-7)
    assert remarks == ["channel 1 of 2 alone: the channels cancel each other"]


@pytest.mark.parametrize("channels", [1, 2])
def test_whole_numbers_in_the_range_of_8_bits_are_divided_by_it(channels):
    whole = np.rint(120 * SOUND / SOUND.max())
    for loud, divisor in ((whole, 128), (whole + 0.25, 32_768)):
        heard, remarks = mixed(np.stack([loud] * channels, axis=1))
        np.testing.assert_allclose(heard, loud / divisor)
        assert remarks == [f"divided by {divisor}: floats in the range of integers"]


def test_a_soft_beginning_in_the_range_of_integers_does_not_leave_the_rest_too_loud():
    mono = Mono()
    mono(np.rint(100 * SOUND))
    np.testing.assert_allclose(mono(30_000 * SOUND), 30_000 / 32_768 * SOUND)
    assert len(mono.remarks) == 2


@pytest.mark.parametrize(("bits", "divisor"), [(16, 32_768), (24, 8_388_608), (32, 2_147_483_648)])
@pytest.mark.parametrize("channels", [1, 2])
def test_floats_in_the_range_of_integers_are_brought_to_full_scale(bits, divisor, channels):
    loud = np.stack([tone(RATE) * 1.9 * 2.0 ** (bits - 1)] * channels, axis=1)
    sound = decode_recording(encoded(loud, RATE, "WAV", "FLOAT"), RATE)
    np.testing.assert_allclose(sound.samples, 1.9 * SOUND, rtol=1e-6, atol=1e-7)
    assert sound.remarks == (f"divided by {divisor}: floats in the range of integers",)


def test_floats_beyond_all_integers_are_brought_to_full_scale_by_their_peak():
    heard, remarks = mixed(1e12 * SOUND)
    assert np.abs(heard).max() == pytest.approx(1)
    assert len(remarks) == 1


def test_the_scale_is_the_same_in_all_blocks(tmp_path):
    loud = np.concatenate([3e4 * SOUND, 10 * SOUND, 3e4 * SOUND])
    (tmp_path / "loud.wav").write_bytes(encoded(loud, RATE, "WAV", "FLOAT"))
    heard = np.concatenate(list(read_blocks(tmp_path / "loud.wav", RATE)))
    np.testing.assert_allclose(heard, loud / 32_768, rtol=1e-6, atol=1e-7)


def test_what_is_a_little_above_full_scale_stays():
    heard, remarks = mixed(3 * SOUND)
    np.testing.assert_array_equal(heard, 3 * SOUND)
    assert remarks == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_no_number_is_refused_and_nothing_is_printed(value):
    samples = np.stack([SOUND, SOUND], axis=1)
    samples[3] = value
    samples[4] = -value
    with pytest.raises(UnusableClipError, match=r"^samples that are not numbers$"):
        Mono()(samples)


def off(samples: np.ndarray, subtype: str) -> bytes:
    return encoded(samples, RATE, "WAV", subtype)


BITS = np.random.default_rng(0).integers(-1, 2, (RATE, 2))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (off(np.zeros(RATE), "PCM_16"), "silent: every sample is zero"),
        (off(np.zeros((RATE, 2)), "PCM_16"), "silent: every sample is zero"),
        (off(np.full(RATE, 0.02), "FLOAT"), "silent: every sample is the same, 0.02"),
        (off(np.full(RATE, -1.0), "FLOAT"), "silent: every sample is the same, -1"),
        (off(np.stack([SOUND, -SOUND], axis=1) * 0 + [0.5, -0.5], "FLOAT"), "silent: every sample is zero"),
        (off(BITS[:, 0] / 2**15, "PCM_16"), "silent: its samples differ by one bit"),
        (off(BITS / 2**15, "PCM_16"), "silent: its samples differ by one bit"),
        (off(0.1 + BITS[:, 0] / 2**15, "PCM_16"), "silent: its samples differ by one bit"),
        (off(BITS[:, 0] / 2**7, "PCM_U8"), "silent: its samples differ by one bit"),
        (off(BITS / 2**7, "PCM_U8"), "silent: its samples differ by one bit"),
        (sound_file("flac", BITS / 2**15, RATE), "silent: its samples differ by one bit"),
        (sound_file("alac.m4a", BITS[:, 0] / 2**15, RATE), "silent: its samples differ by one bit"),
        (off(np.where(np.arange(RATE) == 7, 2.0**-15, 0), "PCM_16"), "silent: its samples differ by one bit"),
    ],
)
def test_a_microphone_that_is_off_is_no_sound(data, reason):
    with pytest.raises(UnusableClipError) as refused:
        decode_recording(data, RATE)
    assert str(refused.value) == reason


def test_the_softest_sounds_are_sound():
    for data in (off(tone(RATE) * 2.0**-12, "PCM_16"), off(tone(RATE) * 2.0**-4, "PCM_U8")):
        assert len(decode_recording(data, RATE).samples) == RATE


def test_silence_is_sound_where_that_is_asked_for_but_not_nothing():
    sound = decode_recording(off(np.zeros(RATE), "PCM_16"), RATE, may_be_silent=True)
    assert sound.samples.tolist() == [0] * RATE
    with pytest.raises(UnusableClipError, match=r"^no samples$"):
        decode_recording(off(np.zeros(0), "PCM_16"), RATE, may_be_silent=True)


def test_nothing_is_no_sound():
    with pytest.raises(UnusableClipError, match=r"^no samples$"):
        check_sound(np.zeros(0, np.float32))


@pytest.mark.parametrize(
    "samples", [[0.0], [0.5], [0.0, 2**-15], [k / 1000 for k in range(5)], [k / 1000 for k in range(6)]]
)
def test_a_few_values_say_whether_there_is_sound(samples):
    blocks = [np.full(100, value, np.float32) for value in samples]
    values = np.zeros(0, np.float32)
    for block in blocks:
        values = few_values(np.concatenate([values, block]))
    assert why_silent(values) == why_silent(np.concatenate(blocks))
    assert bool(why_silent(values)) == (len(samples) < 6)


@pytest.mark.parametrize(
    ("samples", "clipped"),
    [
        ([], 0),
        ([0.5, 1.0, 0.5], 0),
        ([0.5, 1.0, 1.0, 0.5], 0),
        ([1.0, 1.0, 1.0], 3),
        ([-1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0, 1.0], 7),
        ([0.0, 1.0, 1.0, 0.98, 1.0, 1.0, 0.0], 0),
    ],
)
def test_clipped_samples_stand_side_by_side(samples, clipped):
    assert clipped_samples(np.array(samples, np.float32)) == clipped
