"""The front end of devices: exact, and in float behind augmentation, compared with the exact one on the waveform."""

import io
import tarfile
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf
from conftest import RECORDINGS, make_front_end, make_spec, needs_recordings
from test_augment import OFF, noise, voice

from kws.audio import micro
from kws.audio.clip import cut_or_pad
from kws.audio.micro import MicroFeatures, micro_features, sound_before
from kws.audio.noise import coloured_noise
from kws.featurize.chosen import Chosen
from kws.featurize.compute import compute_recording
from kws.recordings.clips import Clip
from kws.records.clips import cached_clips
from kws.records.format import parse, read_records
from kws.records.read import read_split, training_batches
from kws.records.write import RecordWriter
from kws.train import micro as in_float
from kws.train.augment import Augmentation, Augmenter

RATE, HOP = micro.SAMPLE_RATE, micro.HOP_LENGTH
FRONT_END = make_front_end(RATE, RATE, *list(micro.SETTINGS.values())[1:], 1e-6, kind="micro")
LOG_MEL = replace(FRONT_END, kind="log_mel")
STEP = 26 / 255  # of the features in 8 bits
START = 3 * RATE // 2  # of the clip in `recording`


def room(seed: int) -> np.ndarray:
    """Three seconds of an even hiss."""
    return 0.003 * coloured_noise(np.random.default_rng(seed), 3 * RATE, -0.5, RATE).astype(np.float32)


def recording(seed: int) -> np.ndarray:
    """Somebody speaks in a room: three seconds, the clip from START on."""
    sound = room(seed)
    sound[START : START + len(voice(seed))] += voice(seed)
    return sound


def exact(sound: np.ndarray) -> np.ndarray:
    """What devices make of the clip at START, with the second before it."""
    return micro_features(sound[START - RATE : START + RATE])[FRONT_END.lead :]


def augmented(what: Augmentation, sounds: list[np.ndarray], background: np.ndarray | None = None) -> np.ndarray:
    """What augmentation makes of the cached power of the clips at START."""
    power = np.stack([FRONT_END.with_margins(sound, START) for sound in sounds])
    augmenter = Augmenter(what, FRONT_END, {} if background is None else {"hiss": background})
    features, _ = augmenter(tf.constant(power), tf.zeros((len(sounds), 1)), tf.constant((1, 2)))
    assert features.shape == (len(sounds), FRONT_END.frames, FRONT_END.mel_bins, 1)
    return features.numpy()[..., 0]


def close(one: np.ndarray, other: np.ndarray) -> float:
    """The share of the features that are within five steps of 8 bits."""
    return float((np.abs(one - other) <= 5 * STEP).mean())


def test_a_stream_in_pieces_gives_the_features_of_the_whole():
    sound, stream = recording(1), MicroFeatures()
    pieces = np.split(sound, [0, 1, 300, 479, 480, 481, 5000, 5161, 40_000])
    heard = [stream.push(piece) for piece in pieces]
    assert [len(features) for features in heard[:6]] == [0, 0, 0, 0, 1, 0]
    np.testing.assert_array_equal(np.concatenate(heard), micro_features(sound))
    assert micro_features(sound).shape == (1 + (len(sound) - 480) // HOP, 40)
    assert micro_features(np.zeros(100, np.float32)).shape == (0, 40)


def test_the_features_are_whole_numbers_times_the_scale_and_louder_than_16_bits_is_clipped():
    features = micro_features(recording(1))
    np.testing.assert_array_equal(features, np.rint(features / micro.SCALE).astype(np.float32) * micro.SCALE)
    assert 15 < features.max() < 26
    square = np.sign(np.sin(np.arange(RATE) / 9)).astype(np.float32)
    np.testing.assert_array_equal(micro_features(4 * square), micro_features(square))


def test_the_window_and_the_filters_are_those_of_the_library():
    place = np.arange(480)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (place + 0.5) / 480)
    np.testing.assert_array_equal(FRONT_END.window * 4096, np.floor(hann * 4096 + 0.5))
    assert np.abs(FRONT_END.weights - LOG_MEL.weights).max() <= 0.5 / 4096
    np.testing.assert_array_equal(FRONT_END.weights * 4096, np.rint(FRONT_END.weights * 4096))
    used = np.flatnonzero(FRONT_END.weights.sum(axis=1))
    assert (used[0], used[-1]) == (5, 239)
    assert (FRONT_END.frames, FRONT_END.lead, FRONT_END.margin) == (98, 100, 20)


def test_the_sound_before_a_clip_is_the_one_that_is_there_and_else_the_quietest_part_forwards_and_backwards():
    rng = np.random.default_rng(0)
    clip = rng.normal(size=RATE).astype(np.float32)
    clip[4800:9600] *= 0.1
    real = rng.normal(size=20_000).astype(np.float32)
    np.testing.assert_array_equal(sound_before(clip, real, RATE), real[-RATE:])
    made = sound_before(clip, real[:3000], RATE)
    assert len(made) == RATE
    np.testing.assert_array_equal(made[-3000:], real[:3000])
    quiet = clip[4800:9600]
    np.testing.assert_array_equal(made[-3000 - 4800 : -3000], quiet[::-1])
    np.testing.assert_array_equal(made[-3000 - 9600 : -3000 - 4800], quiet)
    np.testing.assert_array_equal(made[: RATE - 3000 - 9600], quiet[::-1][-(RATE - 3000 - 9600) :])


def test_digital_silence_around_a_clip_is_no_sound_before_it():
    sound = voice(1)[:9000]
    alone = sound_before(sound, sound[:0], RATE)
    padded = np.pad(sound, (2000, 5000))
    np.testing.assert_array_equal(sound_before(padded, sound[:0], RATE), alone)
    assert alone.all()
    assert not sound_before(np.zeros(100, np.float32), sound[:0], RATE).any()
    assert len(sound_before(sound[:50], sound[:0], RATE)) == RATE  # a short one comes again and again


def test_a_clip_in_a_long_recording_has_the_features_of_the_stream_and_a_cold_start_has_not():
    sound = room(2)
    sound[START + 5000 : START + 11_000] += voice(2)[5000:11_000]  # a short word: there are pauses around it
    in_stream = micro_features(np.concatenate([room(9), sound]))[300 + START // HOP :][:98]
    with_sound_before = FRONT_END.clip_log_mel(sound[START : START + RATE], sound[:START])
    np.testing.assert_array_equal(with_sound_before, exact(sound))
    assert np.abs(with_sound_before - in_stream).mean() < 0.15
    made = FRONT_END.clip_log_mel(sound[START : START + RATE])
    cold = FRONT_END.log_mel(sound[START : START + RATE])
    assert np.abs(cold - in_stream).mean() > 2
    assert np.abs(made - in_stream).mean() < 0.4 * np.abs(cold - in_stream).mean()


def test_front_end_log_mel_hears_nothing_before_a_clip():
    sound = recording(2)
    clip = sound[START : START + RATE]
    np.testing.assert_array_equal(LOG_MEL.clip_log_mel(clip, sound[:START]), LOG_MEL.log_mel(clip))


@pytest.mark.parametrize(("start", "length"), [(START, 48_000), (9000, 30_000), (0, 16_000), (0, 9000)])
def test_the_cached_power_continues_the_sound_before_a_clip_and_ends_in_silence(start, length):
    sound = recording(3)[:length]
    power = FRONT_END.with_margins(sound, start)
    assert power.shape == (100 + 20 + 98 + 20, 40)
    before = sound_before(sound[start : start + RATE], sound[:start], 120 * HOP)
    whole = np.concatenate([before, sound[start : start + RATE + 20 * HOP]])
    whole = cut_or_pad(whole, 237 * HOP + 480)
    np.testing.assert_allclose(power, FRONT_END.mel_power(whole), rtol=1e-5, atol=1e-9)
    assert power[: 120 + min(98, (len(sound) - start) // HOP)].all(axis=1).all()


# What is done to cached power, against the same thing done to the waveform and the exact front end. Mistakes must show:
# with each of MISTAKES in the float form every comparison has to fail.

SOUNDS = [recording(seed) for seed in range(6)]


def wrong_recursion(monkeypatch) -> None:
    monkeypatch.setattr(in_float, "_SMOOTHING", in_float._SMOOTHING[::-1])


def slow_recursion(monkeypatch) -> None:
    monkeypatch.setattr(in_float, "_SMOOTHING", in_float._SMOOTHING / 2)


def weak_pcan(monkeypatch) -> None:
    monkeypatch.setattr(in_float, "_PCAN_STRENGTH", 0.8)


def no_noise_reduction(monkeypatch) -> None:
    monkeypatch.setattr(in_float, "_REMAINING", 1.0)


def no_lead(monkeypatch) -> None:
    compression = in_float.micro_compression

    def cold(power: tf.Tensor, frames: int) -> tf.Tensor:
        return compression(tf.concat([0 * power[:, :-frames], power[:, -frames:]], axis=1), frames)

    monkeypatch.setattr("kws.train.augment.micro_compression", cold)


MISTAKES = [wrong_recursion, slow_recursion, weak_pcan, no_noise_reduction, no_lead]


def unchanged() -> None:
    for got, sound in zip(augmented(OFF, SOUNDS), SOUNDS, strict=True):
        assert close(got, exact(sound)) > 0.98


def noise_at(decibels: float) -> None:
    """Background that is a loop of a clip's length, so that which stretch of it is heard is known.

    Powers add on average alone, so single features differ: less than those of the same noise with its sign turned.
    """
    loop = noise(9, 1)[: FRONT_END.frames * HOP]
    power = FRONT_END.mel_power(np.resize(loop, len(loop) + 480 - HOP))
    what = replace(OFF, noise_share=1, noise_snr_low=decibels, noise_snr_high=decibels)
    for sound, got in zip(SOUNDS, augmented(what, SOUNDS, power), strict=True):
        clip_power = FRONT_END.with_margins(sound, START)[FRONT_END.clip_frames].mean()
        level = np.sqrt(clip_power / power.mean() * 10 ** (-decibels / 10))
        under = level * np.roll(np.resize(loop, 10 * len(loop)), START)[: len(sound)]  # the loop starts with the clip
        added, turned = (exact((sound + sign * under).astype(np.float32)) for sign in (1, -1))
        assert np.abs((got - added).mean(axis=0)).mean() < 0.3
        assert np.abs(got - added).mean() < 0.7 * np.abs(turned - added).mean()


def best(got: np.ndarray, references: dict[float, np.ndarray]) -> tuple[float, float, float]:
    """Which reference is nearest, the share of its features that are close, and how far off channels are on average."""
    nearest = min(references, key=lambda value: np.abs(references[value] - got).mean())
    difference = got - references[nearest]
    return nearest, close(got, references[nearest]), float(np.abs(difference.mean(axis=0)).mean())


@cache
def louder() -> dict[float, np.ndarray]:
    return {float(db): exact((10 ** (db / 20) * SOUNDS[0]).astype(np.float32)) for db in np.linspace(-12, 12, 49)}


@cache
def shifted() -> dict[float, np.ndarray]:
    return {frames: exact(np.roll(SOUNDS[0], -frames * HOP)) for frames in range(-20, 21)}


@cache
def faster() -> dict[float, np.ndarray]:
    return {float(rate): exact(at_speed(SOUNDS[0], rate))[:, :36] for rate in np.linspace(0.9, 1.1, 41)}


def gain() -> None:
    got = augmented(replace(OFF, gain_db=12), SOUNDS[:1] * 32)
    gains, shares, offs = zip(*(best(one, louder()) for one in got), strict=True)
    assert (min(gains) < -8, max(gains) > 8) == (True, True)
    assert min(shares) > 0.94
    assert max(offs) < 0.3


def shift() -> None:
    got = augmented(replace(OFF, shift_ms=200), SOUNDS[:1] * 32)
    frames, shares, offs = zip(*(best(one, shifted()) for one in got), strict=True)
    assert (min(frames) < -15, max(frames) > 12) == (True, True)
    assert min(shares) > 0.98
    assert max(offs) < 0.1


def at_speed(sound: np.ndarray, rate: float) -> np.ndarray:
    """The recording as from a tape that runs `rate` times as fast; the middle of its clip stays where it is."""
    middle = START + ((FRONT_END.frames - 1) * HOP + 480) / 2
    faster = soxr.resample(np.pad(sound, (RATE, RATE)), rate * RATE, RATE, quality="HQ")
    return faster[round((RATE + middle) / rate - middle) :][: len(sound)]


def speed() -> None:
    """Between the frames of the tape others are heard, so single features differ. The top bins have no source."""
    got = augmented(replace(OFF, speed=0.1), SOUNDS[:1] * 24)[:, :, :36]
    rates, shares, offs = zip(*(best(one, faster()) for one in got), strict=True)
    assert (min(rates) < 0.94, max(rates) > 1.06) == (True, True)
    assert min(shares) > 0.7
    assert max(offs) < 0.4


COMPARISONS = {
    "unchanged": unchanged,
    "noise 20 dB": partial(noise_at, 20),
    "noise 5 dB": partial(noise_at, 5),
    "gain": gain,
    "shift": shift,
    "speed": speed,
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_what_is_done_to_cached_power_is_what_the_exact_front_end_makes_of_the_waveform(name):
    COMPARISONS[name]()


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_the_float_form_are_noticed(name, mistake, monkeypatch):
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        COMPARISONS[name]()


@needs_recordings
def test_the_float_form_agrees_with_the_exact_one_on_real_recordings():
    sounds = []
    for word in ("yes", "stop", "down"):
        with tarfile.open(RECORDINGS / "clips" / "mini" / f"{word}.tar") as clips:
            for member in clips.getmembers()[:40]:
                sound, rate = soundfile.read(io.BytesIO(clips.extractfile(member).read()), dtype="float32")
                sounds.append(cut_or_pad(soxr.resample(sound, rate, RATE), RATE))
    power = np.stack([FRONT_END.with_margins(sound)[FRONT_END.margin :] for sound in sounds])
    got = in_float.micro_compression(tf.constant(power[:, : FRONT_END.lead + FRONT_END.frames]), FRONT_END.frames)
    wanted = np.stack([FRONT_END.clip_log_mel(sound) for sound in sounds])
    assert (np.abs(got - wanted) < micro.SCALE / 2).mean() > 0.8  # the very same whole number
    assert close(got.numpy(), wanted) > 0.97
    assert abs(float(np.mean(got - wanted))) < 0.05


def test_noise_before_the_start_of_a_background_recording_is_its_end():
    background = np.arange(1, 221, dtype=np.float32)[:, None] * np.ones((1, 40), np.float32)
    augmenter = Augmenter(OFF, FRONT_END, {"steps": background})
    [early, late] = augmenter._stretches(np.array([0, 0]), np.array([30, 122]))[:, :, 0]
    np.testing.assert_array_equal(late, np.arange(23, 221))
    np.testing.assert_array_equal(early, [*range(151, 221), *range(1, 129)])


def test_only_the_clip_counts_for_the_level_of_noise():
    """Not the lead, which may be much louder or softer."""
    power = np.ones((2, 198, 40), np.float32)
    power[1, :100] = 1e-4
    background = np.ones((300, 40), np.float32)  # its first segment begins with it, so that its end is the lead
    background[200:] = 50.0
    augmenter = Augmenter(replace(OFF, noise_share=1), FRONT_END, {"louder and louder": background})
    noisy = augmenter._add_noise(tf.constant(power), FirstSegment())
    np.testing.assert_allclose(noisy[:, 100:], 1.1, rtol=1e-5)  # at 10 dB
    np.testing.assert_allclose(noisy[:, :100] - power[:, :100], 5.0, rtol=1e-3)


class FirstSegment:
    """Draws the lower end of each range, for two clips of a batch."""

    def uniform(self, low: float, high: float) -> tf.Tensor:
        return tf.fill([2], float(low)) + 0 * high

    def index(self, below: int) -> tf.Tensor:
        return tf.zeros([2], tf.int32) + 0 * below


def write(folder, split: str, sounds: list[np.ndarray], front_end=FRONT_END):
    spec = make_spec(front_end, **{split: len(sounds)})
    with RecordWriter(folder, spec.clips) as records:
        for number, sound in enumerate(sounds):
            exact = np.rint(front_end.clip_log_mel(sound) / micro.SCALE).astype(np.uint16)
            exact = exact if front_end.kind == "micro" else None
            records.write(split, f"{number}", "ann", 0, front_end.with_margins(sound), exact=exact)
    return spec


CLIPS = [cut_or_pad(voice(seed), RATE) for seed in range(3)]


@pytest.mark.parametrize("split", ["train", "validation", "unheard_test"])
def test_what_is_judged_hears_the_exact_features_from_the_records(tmp_path, split):
    spec = write(tmp_path, split, CLIPS)
    for number, clip in enumerate(cached_clips(tmp_path, split, spec)):
        np.testing.assert_array_equal(clip.log_mel, FRONT_END.clip_log_mel(CLIPS[number]))
        assert clip.log_mel.dtype == np.float32
    [batch] = read_split(tmp_path, split, spec, 3).as_numpy_iterator()
    np.testing.assert_array_equal(batch["log_mel"][..., 0], [FRONT_END.clip_log_mel(clip) for clip in CLIPS])


def test_records_hold_what_their_split_needs_and_no_more(tmp_path):
    for split in ("test", "train"):
        (tmp_path / split).mkdir()
        spec = write(tmp_path / split, split, CLIPS)
    record = parse(next(read_records(next((tmp_path / "test").iterdir()))))
    assert {name: len(value) for name, value in record.items() if name not in ("label", "name", "speaker")} == {
        "features": 98 * 40 * 2
    }
    record = parse(next(read_records(next((tmp_path / "train").iterdir()))))
    assert len(record["magnitude"]) == (100 + 20 + 98 + 20) * 40 * 2
    assert "mel_power" not in record
    [batch] = training_batches(tmp_path / "train", spec, 3, seed=1, epoch=1).as_numpy_iterator()
    power = [FRONT_END.with_margins(CLIPS[int(name)]) for name in batch["name"]]
    np.testing.assert_allclose(batch["mel_power"], power, rtol=2e-3, atol=1e-9)


def test_records_of_log_mel_are_what_they_were(tmp_path):
    """Before there was another front end: the margins are silent, and nothing else is in a record."""
    write(tmp_path, "train", CLIPS, LOG_MEL)
    padded = np.pad(CLIPS[0], 20 * HOP)
    power = LOG_MEL.mel_power(padded[: 137 * HOP + 480])
    record = parse(next(read_records(next(tmp_path.iterdir()))))
    assert record == {"label": 0, "mel_power": record["mel_power"], "name": b"0", "speaker": b"ann"}
    np.testing.assert_allclose(np.frombuffer(record["mel_power"], "<f4").reshape(-1, 40), power, rtol=1e-5)


def test_a_clip_cut_out_of_a_recording_hears_the_sound_that_was_really_before_it():
    sound = recording(4)
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="WAV", subtype="FLOAT")
    choice = Chosen(Clip("x.wav", "yes", "ann"), "yes", "train")
    [features] = compute_recording(choice, file.getvalue(), FRONT_END, "word")
    start = round(features.start * RATE)
    assert start > RATE
    wanted = micro_features(sound[start - RATE : start + RATE])[100:]
    np.testing.assert_array_equal(features.exact * np.float32(micro.SCALE), wanted)
    np.testing.assert_array_equal(features.mel_power, FRONT_END.with_margins(sound, start))
    assert features.exact.dtype == np.uint16
    [features] = compute_recording(choice, file.getvalue(), LOG_MEL, "word")
    assert features.exact is None


def test_silence_has_features_too():
    assert not FRONT_END.clip_log_mel(np.zeros(RATE, np.float32)).any()
    power = FRONT_END.with_margins(np.zeros(RATE, np.float32))[None, 20:218]
    assert not in_float.micro_compression(tf.constant(power), 98).numpy().any()
