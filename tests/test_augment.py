"""What is done to Mel power, compared with the same thing done to the waveform."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import soxr
import tensorflow as tf
from conftest import make_front_end, make_spec
from scipy.optimize import brentq

from kws.audio.mel import hz_to_mel, mel_to_hz
from kws.records.read import read_split
from kws.records.write import RecordWriter
from kws.train.augment import QUIET_DBFS, Augmentation, Augmenter

RATE = 16_000
FRONT_END = make_front_end(RATE, RATE, 400, 160, 512, 40, 60.0, 7600.0, 1e-7)  # 98 frames, margins of 20
SMALL = make_front_end(1000, 1000, 100, 50, 128, 8, 20.0, 500.0, 1e-7)  # 19 frames, margins of 4, for many clips
OFF = Augmentation(
    shift_ms=0,
    speed=0,
    frequency_warp=0,
    noise_share=0,
    noise_snr_low=10,
    noise_snr_high=10,
    gain_db=0,
    time_masks=0,
    time_mask_ms=100,
    frequency_masks=0,
    frequency_mask_bins=7,
    mixup=0,
    spliced=0,
)
MELS = np.linspace(hz_to_mel(60), hz_to_mel(7600), 42)[1:-1]  # centres of the filters
CENTRES = mel_to_hz(MELS)
ALL = Augmentation(100, 0.1, 0.1, 0.8, -5, 20, 6, 2, 100, 2, 7, 0.3, 0.2)


def voice(seed: int, seconds: float = 1.5, pitch: float = 120.0) -> np.ndarray:
    """Somebody says something: gliding harmonics through three formants, breath, a room that is not quite still."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.15 * np.sin(2 * np.pi * 1.3 * time))) / RATE
    sound = 0.3 * rng.normal(size=len(time))
    for number in range(1, int(5800 / pitch)):
        loudness = sum(
            1 / (1 + ((number * pitch - hz) / width) ** 2) for hz, width in ((500, 120), (1500, 200), (2600, 300))
        )
        sound += loudness * np.sin(number * phase + rng.uniform(0, 6))
    sound *= np.exp(-(((time - 0.5) / 0.2) ** 2))
    return (0.05 * sound + 0.00015 * rng.normal(size=len(time))).astype(np.float32)


def noise(seed: int, seconds: int) -> np.ndarray:
    """A rushing that gets louder and softer, through a microphone that is deaf to what the filters leave out."""
    rng, length = np.random.default_rng(seed), seconds * RATE
    hertz = np.fft.rfftfreq(length, 1 / RATE).clip(1)
    microphone = 1 / (1 + (150 / hertz) ** 4) / (1 + (hertz / 5000) ** 8)
    rushing = np.fft.irfft(np.fft.rfft(rng.normal(size=length)) * microphone / np.sqrt(hertz / 1000))
    loudness = np.exp(np.interp(np.arange(length) / RATE, np.arange(seconds + 1), rng.normal(size=seconds + 1)))
    return (0.02 * loudness * rushing).astype(np.float32)


def cached(recording: np.ndarray) -> np.ndarray:
    return FRONT_END.with_margins(recording)


def augment(what, power, *, front_end=FRONT_END, background=(), labels=None, seed=(1, 2)):  # noqa: PLR0913 (as given)
    """(log-Mel, labels), in NumPy."""
    power = np.asarray(power, np.float32)
    labels = np.eye(len(power), dtype=np.float32) if labels is None else labels
    log_mel, labels = Augmenter(what, front_end, {str(number): power for number, power in enumerate(background)})(
        tf.constant(power), labels, tf.constant(seed)
    )
    assert log_mel.shape == (len(power), front_end.frames, front_end.mel_bins, 1)
    return log_mel.numpy()[..., 0], np.asarray(labels)


def without_margins(power: np.ndarray, front_end=FRONT_END) -> np.ndarray:
    return np.asarray(power)[:, front_end.margin : front_end.margin + front_end.frames]


def flat(clips: int, value: float = 1.0, front_end=SMALL) -> np.ndarray:
    """Clips of the same power everywhere."""
    shape = (clips, front_end.frames + 2 * front_end.margin, front_end.mel_bins)
    return np.full(shape, value, np.float32)


def random_power(clips: int, front_end=SMALL) -> np.ndarray:
    return np.exp(np.random.default_rng(0).normal(size=flat(clips, front_end=front_end).shape)).astype(np.float32)


def test_it_is_what_the_parameters_say(make_params):
    what = Augmentation(
        shift_ms=100.0,
        speed=0.1,
        frequency_warp=0.2,
        noise_share=0.8,
        noise_snr_low=-5.0,
        noise_snr_high=20.0,
        gain_db=6.0,
        time_masks=2,
        time_mask_ms=150.0,
        frequency_masks=3,
        frequency_mask_bins=8,
        mixup=0.3,
        spliced=0.2,
    )
    assert Augmentation.from_params(make_params(unknown=1.0, **asdict(what))) == what


@pytest.mark.parametrize(
    "nothing",
    [
        OFF,
        replace(OFF, time_masks=3, time_mask_ms=0),
        replace(OFF, frequency_masks=3, frequency_mask_bins=0),
    ],
    ids=["all 0", "masks of no time", "masks of no bins"],
)
def test_0_leaves_the_clips_exactly_as_they_are_read(tmp_path, nothing):
    recordings = {f"{seed}.wav": voice(seed) for seed in range(5)}
    spec = make_spec(FRONT_END, train=len(recordings))
    with RecordWriter(tmp_path, spec.clips) as records:
        for name, recording in recordings.items():
            records.write("train", name, "ann", 0, cached(recording))
    [batch] = read_split(tmp_path, "train", spec, 5).as_numpy_iterator()
    power = [cached(recordings[name.decode()]) for name in batch["name"]]
    labels = np.random.default_rng(0).uniform(size=(5, 3)).astype(np.float32)
    log_mel, same_labels = augment(nothing, power, background=[cached(noise(1, 2))], labels=labels)
    np.testing.assert_array_equal(log_mel, batch["log_mel"][..., 0])
    np.testing.assert_array_equal(same_labels, labels)


def test_shift_is_another_stretch_of_the_same_recording():
    recording, clips = voice(1), 64
    log_mel, _ = augment(replace(OFF, shift_ms=200), [cached(recording)] * clips)
    before = np.pad(recording, (RATE, 0))
    by_shift = {
        frames: FRONT_END.log_mel(before[RATE + frames * FRONT_END.hop_length :][:RATE]) for frames in range(-20, 21)
    }
    found = [min(by_shift, key=lambda frames: np.abs(by_shift[frames] - one).max()) for one in log_mel]
    for one, frames in zip(log_mel, found, strict=True):
        np.testing.assert_allclose(one, by_shift[frames], atol=1e-3)
    assert min(found) < -15
    assert max(found) > 15


def test_shift_goes_no_further_than_asked():
    power = np.arange(27, dtype=np.float32)[None, :, None] * np.ones((200, 1, 8), np.float32)
    log_mel, _ = augment(replace(OFF, shift_ms=100), power, front_end=SMALL)
    first = np.exp(log_mel[:, 0, 0]) - SMALL.margin
    assert set(first.round(2)) == {-2, -1, 0, 1, 2}


def test_gain_is_that_of_the_waveform():
    recording = voice(1)
    log_mel, _ = augment(replace(OFF, gain_db=20), [cached(recording)] * 64)
    loudest = np.unravel_index(log_mel[0].argmax(), log_mel[0].shape)
    gains = 10 / np.log(10) * (log_mel[:, *loudest] - FRONT_END.log_mel(recording[:RATE])[loudest])
    for one, gain in zip(log_mel, gains, strict=True):
        louder = (10 ** (gain / 20) * recording[:RATE]).astype(np.float32)
        np.testing.assert_allclose(one, FRONT_END.log_mel(louder), atol=2e-3)
    assert -20.01 < gains.min() < -15
    assert 15 < gains.max() < 20.01


def at_speed(recording: np.ndarray, rate: float) -> np.ndarray:
    """The clip as from a tape that runs `rate` times as fast; its middle stays where it is."""
    before = 2 * RATE
    middle = ((FRONT_END.frames - 1) * FRONT_END.hop_length + FRONT_END.frame_length) / 2
    faster = soxr.resample(np.pad(recording, (before, before)), rate * RATE, RATE, quality="HQ")
    return faster[round((before + middle * (1 - rate)) / rate) :][:RATE]


def test_speed_is_a_tape_that_runs_faster_or_slower():
    recording = voice(3)
    rates = np.linspace(0.8, 1.2, 81)
    references = np.stack([FRONT_END.log_mel(at_speed(recording, rate)) for rate in rates])
    log_mel, _ = augment(replace(OFF, speed=0.2), [cached(recording)] * 24)
    found = []
    for one in log_mel:
        # a slower tape has nothing at the very top, where no source is known; there the top bin is taken again
        heard = CENTRES < 0.78 * 7600
        difference = (one - references)[:, :, heard]
        best = np.abs(difference).mean(axis=(1, 2)).argmin()
        assert np.abs(difference[best]).mean() < 0.22
        assert np.abs(difference[best].mean()) < 0.1
        found.append(rates[best])
    assert min(found) < 0.85
    assert max(found) > 1.15


def warped(frame: np.ndarray, factor: float) -> np.ndarray:
    """Mel power of a sound whose frequencies are all multiplied: each hertz of it is spread over `factor` hertz."""
    per_hertz = frame / (700 + CENTRES)  # filters are as wide as that
    source = CENTRES / factor
    power_at_source = np.interp(hz_to_mel(source), MELS, frame) / (700 + source)
    assert per_hertz.shape == power_at_source.shape
    return power_at_source / factor * (700 + CENTRES)


def test_frequency_warp_multiplies_all_frequencies():
    clips = 64
    power = random_power(clips, FRONT_END)
    power[:, FRONT_END.margin] = np.arange(1, 41)  # straight on the Mel axis: tells the factor that was drawn
    log_mel, _ = augment(replace(OFF, frequency_warp=0.2), power)
    got = np.exp(log_mel) - FRONT_END.log_offset
    factors = [brentq(lambda f, one=one: warped(np.arange(1, 41), f)[20] - one[0, 20], 0.7, 1.3) for one in got]
    for clip, factor in enumerate(factors):
        wanted = [warped(frame, factor) for frame in without_margins(power)[clip]]
        np.testing.assert_allclose(got[clip], wanted, rtol=2e-3, atol=2e-3)
    assert 0.8 <= min(factors) < 0.85
    assert 1.15 < max(factors) <= 1.2


def chirp(factor: float = 1.0) -> np.ndarray:
    """A tone that rises from 60 Hz to 7 kHz, loudest at the frequencies of a vowel; all times `factor`."""
    time = np.arange(RATE) / RATE
    hz = 60 + 6940 * time
    loudness = 0.05 + sum(1 / (1 + ((hz - middle) / 300) ** 2) for middle in (700, 1800, 3000))
    return (0.1 * loudness * np.sin(2 * np.pi * factor * np.cumsum(hz) / RATE)).astype(np.float32)


def test_frequency_warp_gives_the_spectrum_of_the_warped_sound():
    factors = np.linspace(0.8, 1.2, 81)
    spectra = np.log([FRONT_END.mel_power(chirp(factor)).mean(axis=0) for factor in factors])
    log_mel, _ = augment(replace(OFF, frequency_warp=0.15), [cached(chirp())] * 16)
    found = []
    for one in np.log(np.exp(log_mel).mean(axis=1)):
        known = (CENTRES > 150) & (CENTRES < 5500)  # in all of the warped sounds
        difference = (one - spectra)[:, known]
        best = np.abs(difference).mean(axis=1).argmin()
        assert np.abs(difference[best]).mean() < 0.05
        assert np.abs(difference[best]).max() < 0.25
        found.append(factors[best])
    assert min(found) < 0.9
    assert max(found) > 1.1


def test_noise_is_added_as_to_the_waveform_at_the_signal_to_noise_ratio_asked_for():
    recordings, hiss, hop = [voice(seed) for seed in range(8)], noise(9, 4), FRONT_END.hop_length
    background = FRONT_END.mel_power(hiss)
    segments = np.stack([background[first:][: FRONT_END.frames] for first in range(len(background) - FRONT_END.frames)])
    for decibels in (0, 15):
        what = replace(OFF, noise_share=1, noise_snr_low=decibels, noise_snr_high=decibels)
        log_mel, _ = augment(what, [cached(recording) for recording in recordings], background=[background])
        for one, recording in zip(log_mel, recordings, strict=True):
            clip = recording[:RATE]
            power = FRONT_END.mel_power(clip)
            added = np.exp(one) - FRONT_END.log_offset - power
            likeness = np.tensordot(segments, added, 2) / np.sqrt(np.square(segments).sum(axis=(1, 2)))
            stretch = hiss[likeness.argmax() * hop :][:RATE]
            stretch = stretch * np.sqrt(np.mean(clip**2) / np.mean(stretch**2)) * 10 ** (-decibels / 20)
            assert 10 * np.log10(added.mean() / FRONT_END.mel_power(stretch).mean()) == pytest.approx(0, abs=0.3)
            assert 10 * np.log10(power.mean() / added.mean()) == pytest.approx(decibels, abs=0.01)
            difference = one - FRONT_END.log_mel(clip + stretch.astype(np.float32))
            assert abs(difference.mean()) < 0.1
            assert np.abs(difference).mean() < 0.25


def test_the_signal_to_noise_ratio_is_drawn_for_each_clip_from_the_range_asked_for():
    what = replace(OFF, noise_share=1, noise_snr_low=-5, noise_snr_high=15)
    log_mel, _ = augment(what, flat(500), front_end=SMALL, background=[flat(1)[0]])
    ratios = -10 * np.log10(np.exp(log_mel[:, 0, 0]) - 1)
    assert -5.01 < ratios.min() < -4
    assert 14 < ratios.max() < 15.01
    assert ratios.mean() == pytest.approx(5, abs=1)


def test_as_many_clips_get_noise_as_asked_for():
    for share in (0.3, 1):
        log_mel, _ = augment(replace(OFF, noise_share=share), flat(1000), front_end=SMALL, background=[flat(1)[0]])
        noisy = log_mel[:, 0, 0] > 0.05
        np.testing.assert_allclose(np.exp(log_mel[noisy]), 1.1, rtol=1e-4)
        np.testing.assert_allclose(np.exp(log_mel[~noisy]), 1, rtol=1e-4)
        assert noisy.mean() == pytest.approx(share, abs=0.05)


def test_a_clip_of_zeros_gets_noise_as_if_it_were_as_loud_as_quiet_speech():
    what = replace(OFF, noise_share=1, noise_snr_low=10, noise_snr_high=10)
    log_mel, _ = augment(what, [cached(np.zeros(RATE, np.float32))], background=[FRONT_END.mel_power(noise(1, 3))])
    level = (np.exp(log_mel) - FRONT_END.log_offset).mean()
    assert level == pytest.approx(FRONT_END.noise_power(QUIET_DBFS - 10), rel=1e-3)


def test_no_noise_runs_across_two_recordings_and_all_of_each_is_used():
    frames = SMALL.frames
    rng = np.random.default_rng(0)
    recordings = [np.exp(rng.normal(size=(frames + more, 8))).astype(np.float32) for more in (0, 2, 1)]
    segments = [recording[first:][:frames] for recording in recordings for first in range(len(recording) - frames + 1)]
    assert len(segments) == 1 + 3 + 2
    what = replace(OFF, noise_share=1, noise_snr_low=-20, noise_snr_high=-20)
    log_mel, _ = augment(what, flat(300), front_end=SMALL, background=recordings)
    added = np.exp(log_mel) - 1
    heard = set()
    for one in added / added.mean(axis=(1, 2), keepdims=True):
        misses = [np.abs(one - segment / segment.mean()).max() for segment in segments]
        assert min(misses) < 1e-2
        heard.add(int(np.argmin(misses)))
    assert heard == set(range(6))


def test_clips_of_many_frames_are_interpolated_as_those_of_few(monkeypatch):
    power, what = random_power(3), replace(OFF, shift_ms=100, speed=0.2, frequency_warp=0.1)
    wanted, _ = augment(what, power, front_end=SMALL)
    monkeypatch.setattr("kws.train.augment.LARGEST_MATRIX", 0)  # frames are gathered
    log_mel, _ = augment(what, power, front_end=SMALL)
    np.testing.assert_allclose(log_mel, wanted, atol=1e-5)


def graph_of(augmenter: Augmenter, front_end, classes: int = 2) -> tf.Graph:
    shapes = [tf.TensorSpec([None, *flat(1, front_end=front_end).shape[1:]]), tf.TensorSpec([None, classes])]
    return tf.function(augmenter).get_concrete_function(*shapes, tf.TensorSpec([2], tf.int32)).graph


def test_no_matrix_is_larger_than_a_megabyte_a_clip_however_long_the_clips_are():
    long = make_front_end(1000, 10_000, 16, 1, 16, 1, 20.0, 500.0, 1e-7)
    assert (long.frames, long.margin) == (9985, 200)  # frames by frames are 400 MB
    what = replace(OFF, shift_ms=100)
    graph = graph_of(Augmenter(what, long, {}), long)
    shapes = [output.shape for operation in graph.get_operations() for output in operation.outputs]
    assert max(np.prod([size or 1 for size in shape]) for shape in shapes if shape.rank is not None) == 10_385
    log_mel, _ = augment(what, np.arange(1.0, 10_386.0)[None, :, None], front_end=long)
    np.testing.assert_array_equal(np.diff(np.exp(log_mel[0, :, 0]).round()), np.ones(9984))


def test_the_graph_holds_no_background_however_much_there_is():
    """A graph of more than 2 GB is refused: 224 recordings of ten minutes would be enough."""
    background = {"hours": np.ones((2_000_000, 8), np.float32)}  # 64 MB
    graph = graph_of(Augmenter(replace(OFF, noise_share=1), SMALL, background), SMALL)
    assert graph.as_graph_def().ByteSize() < 100_000


@pytest.mark.parametrize("background", [0.0, 1e-38, 1e6], ids=["zeros", "next to nothing", "very loud"])
def test_nothing_becomes_infinite_or_no_number(background):
    power = random_power(50)
    power[:10] = 0
    power[10:20] = 1e6
    recordings = [flat(1, background)[0], random_power(1)[0]]
    for share in (0.5, 1):
        log_mel, labels = augment(replace(ALL, noise_share=share), power, front_end=SMALL, background=recordings)
        assert np.isfinite(log_mel).all()
        assert np.isfinite(labels).all()


def hidden_stretches(count: int, name: str, longest: float, clips: int = 400) -> list[np.ndarray]:
    """Which frames, or which Mel bins, of each clip are hidden."""
    log_mel = np.log(without_margins(random_power(clips), SMALL) + np.float32(SMALL.log_offset))
    longest_name = {"time": "time_mask_ms", "frequency": "frequency_mask_bins"}[name]
    masked, _ = augment(
        replace(OFF, **{f"{name}_masks": count, longest_name: longest}), random_power(clips), front_end=SMALL
    )
    hidden = np.abs(masked - log_mel) > 1e-5
    means = np.broadcast_to(log_mel.mean(axis=(1, 2), keepdims=True), log_mel.shape)
    np.testing.assert_allclose(masked[hidden], means[hidden], atol=1e-5)
    axis = {"time": 2, "frequency": 1}[name]
    assert (hidden.any(axis=axis) == hidden.all(axis=axis)).all()  # the whole frame, the whole bin
    return list(hidden.any(axis=axis))


def runs(hidden: np.ndarray) -> int:
    return int((np.diff(np.concatenate([[0], hidden.astype(int)])) == 1).sum())


@pytest.mark.parametrize(
    ("name", "longest", "units", "length"),
    [
        ("time", 200, 4, SMALL.frames),
        ("time", 190, 3, SMALL.frames),  # 3.8 frames
        ("time", 1000, SMALL.frames, SMALL.frames),  # longer than the clip
        ("frequency", 3, 3, SMALL.mel_bins),
        ("frequency", 100, SMALL.mel_bins, SMALL.mel_bins),
    ],
)
def test_a_mask_hides_a_stretch_anywhere_no_longer_than_asked(name, longest, units, length):
    hidden = hidden_stretches(1, name, longest)
    assert max(map(runs, hidden)) == 1
    assert {int(one.sum()) for one in hidden} == set(range(units + 1))
    assert np.any(hidden, axis=0).tolist() == [True] * length


def test_there_are_as_many_masks_as_asked_for():
    for name, longest, units in (("time", 100, 2), ("frequency", 1, 1)):
        hidden = hidden_stretches(3, name, longest)
        assert max(map(runs, hidden)) == 3
        assert max(int(one.sum()) for one in hidden) <= 3 * units


def test_mixup_mixes_sound_and_labels_of_two_clips_in_the_same_shares():
    clips = 60
    power, labels = random_power(clips), np.eye(clips, dtype=np.float32)
    log_mel, mixed = augment(replace(OFF, mixup=1), power, front_end=SMALL, labels=labels)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=1e-5)
    assert ((mixed > 0).sum(axis=1) == 2).all()
    assert (np.diag(mixed) >= 0.5).all()  # a clip remains above all what it was
    wanted = np.einsum("ij,jkl->ikl", mixed, without_margins(power, SMALL))
    np.testing.assert_allclose(np.exp(log_mel) - SMALL.log_offset, wanted, rtol=1e-4)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_the_shares_of_mixup_are_those_of_the_beta_distribution(alpha):
    clips = 3000
    labels = np.tile(np.eye(2, dtype=np.float32), (clips // 2, 1))
    _, mixed = augment(replace(OFF, mixup=alpha), flat(clips), front_end=SMALL, labels=labels)
    drawn = np.random.default_rng(0).beta(alpha, alpha, size=100_000)
    wanted = np.quantile(np.maximum(drawn, 1 - drawn), [0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(np.quantile(mixed.max(axis=1), [0.1, 0.25, 0.5, 0.75, 0.9]), wanted, atol=0.04)


@pytest.mark.parametrize(
    "what",
    [
        {"shift_ms": 200},
        {"speed": 0.2},
        {"frequency_warp": 0.2},
        {"noise_share": 1, "noise_snr_low": 0},
        {"gain_db": 6},
        {"time_masks": 2},
        {"frequency_masks": 2},
        {"mixup": 1},
        asdict(ALL),
    ],
    ids=lambda what: next(iter(what)) if len(what) < 3 else "all",
)
def test_what_is_drawn_follows_from_the_seed_and_is_another_for_each_clip_and_each_seed(what):
    power = np.repeat(random_power(2), 4, axis=0)[[0, 4, 1, 5, 2, 6, 3, 7]]  # two clips, four times each

    def log_mel(*seed: int) -> np.ndarray:
        return augment(replace(OFF, **what), power, front_end=SMALL, background=[random_power(9)[8]], seed=seed)[0]

    np.testing.assert_array_equal(log_mel(1, 2), log_mel(1, 2))
    assert len({log_mel(1, 2)[clip].tobytes() for clip in (0, 2, 4, 6)}) > 1
    for other in ((1, 3), (2, 2), (2, 1)):
        assert not np.array_equal(log_mel(1, 2), log_mel(*other))


def test_spliced_clips_begin_as_one_word_end_as_another_and_are_unknown():
    clips, classes = 400, 5  # three words, unknown, silence
    labels = np.eye(classes, dtype=np.float32)[np.arange(clips) % classes]
    levels = np.exp(np.random.default_rng(0).normal(size=clips)).astype(np.float32)
    power = np.ones_like(flat(clips)) * levels[:, None, None]
    augmenter = Augmenter(replace(OFF, spliced=0.5), SMALL, [], unknown=3)
    log_mel, new_labels = augmenter(tf.constant(power), tf.constant(labels), tf.constant((1, 2)))
    heard = np.exp(log_mel.numpy()[:, :, 0, 0])
    joined = heard[:, 0] != heard[:, -1]
    np.testing.assert_allclose(heard[:, 0], levels, rtol=1e-5)
    np.testing.assert_allclose(heard[joined, -1], np.roll(levels, 1)[joined], rtol=1e-5)
    cuts = (np.abs(np.diff(heard[joined], axis=1)) > 1e-6).argmax(axis=1)
    assert set(np.unique(np.count_nonzero(np.diff(heard[joined], axis=1), axis=1))) == {1}  # one cut each
    assert cuts.min() >= 0.3 * SMALL.frames
    assert cuts.max() <= 0.7 * SMALL.frames
    word, neighbour = labels.argmax(axis=1), np.roll(labels.argmax(axis=1), 1)
    assert not joined[(word >= 3) | (neighbour >= 3)].any()  # only words are joined, with other words
    assert joined[(word < 3) & (neighbour < 3)].mean() == pytest.approx(0.5, abs=0.1)
    assert (new_labels.numpy().argmax(axis=1)[joined] == 3).all()
    np.testing.assert_array_equal(new_labels[~joined], labels[~joined])


def test_without_a_class_for_unknown_words_nothing_is_spliced():
    labels = np.eye(3, dtype=np.float32)[np.arange(6) % 3]
    power = random_power(6)
    log_mel, same = augment(replace(OFF, spliced=1.0), power, front_end=SMALL, labels=labels)
    np.testing.assert_allclose(np.exp(log_mel), without_margins(power, SMALL), rtol=1e-5)
    np.testing.assert_array_equal(same, labels)
