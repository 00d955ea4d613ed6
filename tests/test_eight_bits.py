"""8 bits are judged in noise and in the stream too, by the same code, and refused for what only shows there."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from conftest import FRONT_END, tone

from kws.core.errors import UserError
from kws.evaluate import eight_bits, noise_sweep, stream
from kws.evaluate.answers import Answers
from kws.evaluate.eight_bits import FLOAT32, INT8
from kws.evaluate.network import EvaluatedNetwork
from kws.evaluate.stream import Stretch, Utterance
from kws.export import parity
from kws.recordings.manifest import Recording
from kws.train.litert import network_file, network_int8_file

CLASSES = ["low", "high"]
TONES = {"low": (250, 300, 350), "high": (2500, 3000, 3500)}
HISS = np.random.default_rng(0).normal(scale=0.1, size=160_000).astype(np.float32)


def soft(hertz: float) -> np.ndarray:
    """A tone at -40 dB of full scale in faint hiss."""
    return (0.02 * tone(hertz) + 1e-4 * np.random.default_rng(int(hertz)).normal(size=16_000)).astype(np.float32)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A network that tells low tones from high ones, in float32, and in 8 bits after good and after bad calibration.

    Bad: its clips are those of the test, without noise. In noise the activations leave their ranges.
    """
    folder = tmp_path_factory.mktemp("networks")
    log_mel = keras.Input((FRONT_END.frames, FRONT_END.mel_bins, 1))
    middle = keras.layers.Cropping2D(((16, 16), (0, 0)))(log_mel)
    mels = keras.layers.Flatten()(keras.layers.AveragePooling2D((17, 1))(middle))
    halves = keras.layers.Dense(2, "relu", name="embedding")
    logits = keras.layers.Dense(2)
    model = keras.Model(log_mel, logits(halves(mels)))
    low = (np.arange(40) < 20) / 20  # how loud the low bins are, and the high ones: in hiss both get louder
    hiss = FRONT_END.log_mel(1e-3 * HISS[:16_000]).mean(axis=0)
    halves.set_weights([np.stack([low, 1 / 20 - low], axis=1), np.array([-hiss[:20].mean(), -hiss[20:].mean()])])
    logits.set_weights([10 * np.array([[1, -1], [-1, 1]]), np.zeros(2)])

    clips = np.stack([FRONT_END.log_mel(soft(hertz)) for hertz in (250, 300, 350, 2500, 3000, 3500)])[..., None]
    noisy = np.stack([FRONT_END.log_mel(soft(300) + level * HISS[:16_000]) for level in (0.01, 0.1, 1)])[..., None]
    files = {
        FLOAT32: network_file(model),
        "good": network_int8_file(model, np.concatenate([clips, noisy])),
        "bad": network_int8_file(model, clips),
    }
    for name, content in files.items():
        (folder / f"{name}.tflite").write_bytes(content)
    return {name: EvaluatedNetwork(folder / f"{name}.tflite", threads=2) for name in files}


def recordings() -> Iterator[Recording]:
    for number in range(20):
        for label, hertz in TONES.items():
            waveform = soft(hertz[number % 3])
            yield Recording(f"{label}/{number}.wav", f"speaker {number}", label, label, waveform)


def in_noise(networks, int8: str) -> dict[str, float]:
    pair = {FLOAT32: networks[FLOAT32].ask, INT8: networks[int8].ask}
    outcome = noise_sweep.sweep(pair, recordings(), {"hiss": HISS}, front_end=FRONT_END, classes=CLASSES, threads=2)
    return eight_bits.noise_figures(outcome)


def stretches(count: int = 2) -> Iterator[Stretch]:
    """Each a minute of loud hiss with twelve tones in it, above the hiss in their bins."""
    for number in range(count):
        sound = 0.1 * np.resize(np.roll(HISS, 1000 * number), 60 * 16_000)
        script = []
        for place in range(12):
            label = place % 2
            start = 5 * place + 1
            sound[start * 16_000 : (start + 1) * 16_000] += tone((300, 3000)[label])
            script.append(Utterance(start + 1 / 3, start + 2 / 3, label, f"speaker {place}", f"{number}-{place}.wav"))
        yield Stretch(FRONT_END.log_mel(sound.astype(np.float32)), script, "hiss")


def in_the_stream(networks, int8: str) -> dict[str, float]:
    pair = [networks[name].probabilities for name in (FLOAT32, int8)]
    whole, first = eight_bits.hear(*pair, stretches(), front_end=FRONT_END, words=[0, 1])
    assert whole.hours == first[INT8].hours
    return eight_bits.stream_figures(first, 0.5)


def test_in_quiet_both_answer_alike(networks):
    clips = [FRONT_END.log_mel(recording.waveform) for recording in recordings()]
    labels = np.array([CLASSES.index(recording.label) for recording in recordings()])
    embeddings, probabilities = networks[FLOAT32].answers(clips)
    answers = Answers(labels, labels, labels, probabilities, embeddings)
    for name in ("good", "bad"):
        np.testing.assert_allclose(networks[name].probabilities(clips).sum(axis=1), 1, rtol=1e-5)
        figures = eight_bits.quiet_figures(answers, networks[name].probabilities(clips))
        assert figures == {"int8_accuracy": 1.0, "int8_agreement": 1.0}


def test_what_clips_the_noise_shows_in_noise_and_in_the_stream_and_is_refused(networks):
    quiet = {"test_clips": 2000, "keras_accuracy": 1.0, "float32_agreement": 1.0, "float32_largest_difference": 0.0}
    for kind in ("int8", "features"):
        quiet |= {f"{kind}_accuracy": 1.0, f"{kind}_agreement": 1.0, f"{kind}_undecided": 0.0}
    quiet |= {"sliding_keras_accuracy": 1.0, "sliding_accuracy": 1.0}
    good = in_noise(networks, "good") | in_the_stream(networks, "good")
    assert (good["int8_noise_0db_accuracy"], good["int8_noise_lost"], good["int8_stream_lost"]) == (1, 0, 0)
    parity.check(quiet, good)
    bad = in_noise(networks, "bad") | in_the_stream(networks, "bad")
    assert (bad["int8_noise_0db_accuracy"], bad["int8_stream_lost"]) == (0.5, 0.5)  # all sound low
    with pytest.raises(UserError, match=r"int8: accuracy in noise falls by"):
        parity.check(quiet, bad | {name: value for name, value in good.items() if "stream" in name})
    with pytest.raises(UserError, match=r"int8: more missed in a stream by"):
        parity.check(quiet, bad | {name: value for name, value in good.items() if "noise" in name})


def test_the_figures_of_noise_compare_answer_by_answer():
    float32 = np.array([[True] * 6, [True] * 6, [False] * 6, [True] * 6])
    int8 = float32.copy()
    int8[0, :2], int8[2, 5] = False, True
    outcome = noise_sweep.NoiseOutcome(
        speakers=np.array([*"abcd"]), sounds={}, noises=np.array(["hiss"] * 4), correct={FLOAT32: float32, INT8: int8}
    )
    figures = eight_bits.noise_figures(outcome)
    assert [figures[f"int8_noise_{snr}db_accuracy"] for snr in noise_sweep.SNR_DB] == [0.5, 0.5, 0.75, 0.75, 0.75, 1]
    assert figures["int8_noise_lost"] == pytest.approx(1 / 24, abs=1e-6)
    assert figures["int8_noise_lost_low"] < 1 / 24 < figures["int8_noise_lost_high"]


def test_of_a_long_stream_8_bits_hear_the_first_hour_alone(networks, monkeypatch):
    monkeypatch.setattr(eight_bits, "STREAM_STRETCHES", 1)
    pair = [networks[name].probabilities for name in (FLOAT32, "good")]
    whole, first = eight_bits.hear(*pair, stretches(3), front_end=FRONT_END, words=[0, 1])
    assert (whole.hours, first[FLOAT32].hours, first[INT8].hours) == pytest.approx((3 / 60, 1 / 60, 1 / 60))
    assert (len(whole.at(0.5).missed), len(first[INT8].at(0.5).missed)) == (36, 12)
    [alone] = stream.hear({"": pair[0]}, stretches(3), front_end=FRONT_END, words=[0, 1]).values()
    for ours, theirs in zip(whole.stretches, alone.stretches, strict=True):
        np.testing.assert_array_equal(ours.scores, theirs.scores)
        assert ours.script == theirs.script
    assert eight_bits.stream_figures(first, 0.5)["int8_stream_hours"] == pytest.approx(1 / 60, abs=1e-6)


def test_a_stream_in_which_no_word_is_said_has_false_alarms_alone(networks):
    silent = [Stretch(stretch.log_mel, [], "hiss") for stretch in stretches(1)]
    pair = [networks[name].probabilities for name in (FLOAT32, "good")]
    _, first = eight_bits.hear(*pair, silent, front_end=FRONT_END, words=[0, 1])
    figures = eight_bits.stream_figures(first, 0.5)
    assert not [name for name in figures if "missed" in name or "lost" in name]
    assert figures["int8_stream_false_alarms_an_hour"] > 0
