import numpy as np
import pytest
import tensorflow as tf
from conftest import make_front_end
from hypothesis import given, settings
from hypothesis import strategies as st

from kws.audio.clip import cut_or_pad
from kws.audio.frontend import FrontEnd

SIZES = [  # sample rate, samples, frame, hop, FFT, Mel bins, low, high
    (16_000, 16_000, 1024, 256, 1024, 80, 20.0, 7600.0),  # the original's
    (16_000, 16_000, 255, 128, 256, 40, 20.0, 7600.0),  # the tutorial's frames: an odd length
    (16_000, 15_999, 400, 160, 512, 64, 0.0, 8000.0),
    (8000, 8001, 401, 133, 513, 30, 0.0, 4000.0),
    (22_050, 10_001, 333, 332, 1000, 64, 50.5, 9999.5),
    (48_000, 4801, 1025, 1, 2048, 128, 20.0, 24_000.0),
    (16_000, 777, 777, 777, 777, 1, 300.0, 3000.0),
]


def front_end(sizes) -> FrontEnd:
    return make_front_end(*sizes, log_offset=1e-7)


def in_tensorflow(waveform: np.ndarray, f: FrontEnd) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    power = tf.abs(tf.signal.stft(waveform, f.frame_length, f.hop_length, f.fft_length)) ** 2
    weights = tf.signal.linear_to_mel_weight_matrix(
        f.mel_bins, f.fft_length // 2 + 1, f.sample_rate, f.mel_low_hz, f.mel_high_hz
    )
    return power.numpy(), weights.numpy(), tf.math.log(power @ weights + f.log_offset).numpy()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_it_agrees_with_tf_signal(sizes):
    f = front_end(sizes)
    waveform = np.random.default_rng(0).normal(scale=0.1, size=f.clip_samples).astype(np.float32)
    power, weights, log_mel = in_tensorflow(waveform, f)
    assert f.power(waveform).dtype == f.log_mel(waveform).dtype == np.float32
    assert f.log_mel(waveform).shape == (f.frames, f.mel_bins)
    np.testing.assert_allclose(f.power(waveform), power, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(f.weights, weights, atol=1e-4)
    np.testing.assert_allclose(f.log_mel(waveform), log_mel, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(
    frame=st.integers(16, 600), hop_share=st.floats(0.01, 1), longer=st.integers(0, 100), seed=st.integers(0, 2**32 - 1)
)
def test_it_agrees_with_tf_signal_at_odd_sizes(frame, hop_share, longer, seed):
    f = make_front_end(16_000, 1600, frame, max(1, int(frame * hop_share)), frame + longer, 4, 100.0, 7000.0, 1e-7)
    waveform = np.random.default_rng(seed).normal(scale=0.1, size=1600).astype(np.float32)
    power, _, log_mel = in_tensorflow(waveform, f)
    np.testing.assert_allclose(f.power(waveform), power, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(f.log_mel(waveform), log_mel, atol=1e-4)


def test_the_original_recipe_has_59_frames_of_80_mels():
    assert front_end(SIZES[0]).frames == 59
    assert front_end(SIZES[0]).weights.shape == (513, 80)


def test_silence_is_the_floor():
    f = front_end(SIZES[0])
    np.testing.assert_allclose(f.log_mel(np.zeros(16_000, np.float32)), np.log(np.float32(1e-7)))


def test_the_parameters_make_the_front_end_and_its_json_says_all_of_it(make_params):
    f = FrontEnd.from_params(make_params(mel_bins=40, clip_seconds=0.5))
    assert f.to_json() == {
        "sample_rate": 16_000,
        "clip_samples": 8000,
        "frame_length": 1024,
        "hop_length": 256,
        "fft_length": 1024,
        "mel_bins": 40,
        "mel_low_hz": 20.0,
        "mel_high_hz": 7600.0,
        "log_offset": 1e-7,
        "kind": "log_mel",
        "frames": 28,
        "margin": 12,
        "lead": 0,
    }
    assert FrontEnd.from_json(f.to_json() | {"classes": ["yes", "no"]}) == f


@pytest.mark.parametrize("sizes", [sizes for sizes in SIZES if sizes[3] > 1], ids=str)
def test_cached_mel_power_holds_the_clip_between_two_margins(sizes):
    f = front_end(sizes)
    assert abs(f.margin * f.hop_length - 0.2 * f.sample_rate) <= f.hop_length / 2
    waveform = np.random.default_rng(0).normal(scale=0.1, size=f.clip_samples).astype(np.float32)
    cached = f.with_margins(waveform)
    assert cached.dtype == np.float32
    assert cached.shape == (f.frames + 2 * f.margin, f.mel_bins)
    np.testing.assert_allclose(f.cached_log_mel(cached), f.log_mel(waveform), atol=1e-4)


def test_before_a_clip_there_is_nothing_and_after_it_what_its_recording_goes_on_with():
    f = make_front_end(1000, 1000, 40, 20, 64, 8, 20.0, 400.0, 1e-7)  # ten frames of margin, 200 samples
    for samples in (300, 1000, 1100, 5000):
        recording = np.arange(1, samples + 1, dtype=np.float32)
        heard = min(samples, 1200)
        around = np.array([*[0] * 200, *range(1, heard + 1), *[0] * (1200 - heard)], np.float32)
        np.testing.assert_allclose(f.with_margins(recording), f.mel_power(around), rtol=1e-5)


@settings(deadline=None)
@given(frame=st.integers(16, 600), hop_share=st.floats(0.01, 1), samples=st.integers(1, 2500))
def test_frames_of_silence_are_left_out_at_every_size(frame, hop_share, samples):
    hop = max(1, int(frame * hop_share))
    f = make_front_end(4000, 1600, frame, hop, frame, 4, 100.0, 1900.0, 1e-7)
    recording = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    margin = f.margin * hop
    around = np.pad(cut_or_pad(recording, 1600 + margin), (margin, 0))
    np.testing.assert_allclose(f.with_margins(recording), f.mel_power(around), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sizes", [SIZES[0], SIZES[3], SIZES[4]], ids=str)
@pytest.mark.parametrize("decibels", [-50.0, -10.0])
def test_the_mel_power_of_white_noise_is_known_from_its_level(sizes, decibels):
    f = front_end(sizes)
    noise = 10 ** (decibels / 20) * np.random.default_rng(0).normal(size=20 * f.sample_rate)
    assert f.mel_power(noise.astype(np.float32)).mean() == pytest.approx(f.noise_power(decibels), rel=0.02)


def test_short_clips_are_padded_with_zeros_and_long_ones_cut():
    assert cut_or_pad(np.ones(3, np.float32), 5).tolist() == [1, 1, 1, 0, 0]
    assert cut_or_pad(np.arange(9, dtype=np.float32), 5).tolist() == [0, 1, 2, 3, 4]
