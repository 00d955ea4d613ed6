import shutil
import tracemalloc

import numpy as np
import pytest
from conftest import FRONT_END, tone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kws.core.errors import UserError
from kws.spotting.litert import KINDS, Network
from kws.spotting.spotter import Spotter


class Listener:
    """A network that answers with the first and the last sample that it hears."""

    def __init__(self, clip_samples: int = 1000, sample_rate: int = 1000, hop_length: int = 20) -> None:
        spec = {"sample_rate": sample_rate, "clip_samples": clip_samples, "hop_length": hop_length}
        self.about = {"kind": "int8", "classes": ["no", "_silence_", "yes"], "threshold": 0.5, "front_end": spec}
        self.length = clip_samples
        self.takes_features = False

    def probabilities(self, waveform: np.ndarray) -> np.ndarray:
        assert waveform.shape == (self.about["front_end"]["clip_samples"],)
        return np.array([waveform[0], waveform[-1], 0])


@settings(deadline=None)
@given(samples=st.integers(1, 2500), block=st.integers(1, 1200))
def test_windows_are_a_step_apart_whatever_the_blocks_and_zeros_fill_the_last_one(samples, block):
    sound = np.arange(1, samples + 1, dtype=np.float32)
    blocks = [sound[first : first + block] for first in range(0, samples, block)]
    windows = np.array(list(Spotter(Listener()).windows(blocks)))
    steps = max(0, -(-(samples - 1000) // 80))
    assert windows[:, 0].tolist() == [1 + 80 * number for number in range(steps + 1)]
    heard = 1000 + 80 * np.arange(steps + 1)
    assert windows[:, 1].tolist() == np.where(heard <= samples, heard, 0).tolist()


def test_steps_may_be_almost_as_long_as_windows():
    spotter = Spotter(Listener(clip_samples=50, hop_length=40))
    assert spotter.step_samples == 40
    windows = list(spotter.windows([np.arange(30, dtype=np.float32)] * 10))
    assert [window[0] for window in windows] == [0, 10, 20, 0, 10, 20, 0, 10]


@pytest.mark.parametrize(("clip_samples", "step"), [(500, 80), (1000, 80), (2000, 160), (3000, 320)])
def test_windows_are_about_a_tenth_of_a_clip_apart_in_a_multiple_of_four_frames(clip_samples, step):
    assert Spotter(Listener(clip_samples=clip_samples)).step_samples == step


@pytest.mark.parametrize("seconds", [0.5, 1, 1.5, 2, 3])
def test_a_word_is_detected_once_whatever_the_length_of_a_clip(seconds):
    """E2: with fixed times a network for longer clips fires again while the word is still in its window."""

    class KnowsWords(Listener):
        def probabilities(self, waveform: np.ndarray) -> np.ndarray:
            return np.array([waveform.sum() >= 0.5 * word, 0, 0])  # half of the word or more

    word = round(300 * seconds)
    sound = np.zeros(20 * round(1000 * seconds), np.float32)
    sound[10 * round(1000 * seconds) :][:word] = 1
    [found] = Spotter(KnowsWords(round(1000 * seconds))).detect(np.array_split(sound, 37), 0.5)
    assert found.score == 1


def test_no_sound_no_windows():
    assert list(Spotter(Listener()).windows([])) == []


def test_an_hour_takes_no_more_memory_than_a_minute():
    def peak(minutes: int) -> int:
        sound = (np.zeros(1000, np.float32) for _ in range(60 * minutes))
        tracemalloc.start()
        for _ in Spotter(Listener()).detect(sound, 0.5):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(60) < 1.2 * peak(1)


def test_classes_that_are_no_words_are_never_detected():
    spotter = Spotter(Listener())
    assert [spotter.classes[index] for index in spotter.words] == ["no", "yes"]


EVERY_FILE = [
    *(("exported", file) for file in ("kws.tflite", "kws_int8.tflite")),
    *(("exported_causal", file) for file in ("kws.tflite", "kws_int8.tflite", "kws_stream.tflite")),
    *(("exported_micro", KINDS[kind]) for kind in KINDS),
]


@pytest.mark.parametrize(("folder", "file"), EVERY_FILE)
def test_an_exported_network_knows_its_words_in_clips_and_in_a_stream(request, folder, file):
    spotter = Spotter.load(request.getfixturevalue(folder) / file)
    assert spotter.classes == ["low", "high", "_silence_"]
    for hertz, word in ((300, 0), (3000, 1), (0, 2)):
        assert spotter.clip(tone(hertz)).argmax() == word
    stream = np.concatenate([tone(hertz) for hertz in (0, 0, 300, 0, 0, 3000, 0, 0)])
    found = list(spotter.detect(np.array_split(stream, 37), spotter.threshold))
    step_seconds = spotter.step_samples / spotter.sample_rate
    assert [spotter.classes[one.word] for one in found] == ["low", "high"]
    assert [one.window * step_seconds for one in found] == pytest.approx([2, 5], abs=0.2)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(samples=st.integers(1, 40_000), block=st.integers(100, 20_000), seed=st.integers(0, 3))
@pytest.mark.parametrize("folder", ["exported_causal", "exported_micro"])
def test_a_stream_file_gives_the_answers_of_the_sliding_window(request, folder, samples, block, seed):
    there = request.getfixturevalue(folder)
    sliding, stream = (Spotter.load(there / file) for file in ("kws.tflite", "kws_stream.tflite"))
    sound = np.random.default_rng(seed).normal(size=samples).astype(np.float32) * np.float32(0.1)
    blocks = [sound[first : first + block] for first in range(0, samples, block)]
    stream.clip(tone(3000))  # what was heard before does not matter
    answers = list(stream.windows(blocks))
    np.testing.assert_allclose(answers, list(sliding.windows(blocks)), atol=1e-4)
    assert len(answers) == 1 + max(0, -(-(samples - 16_000) // sliding.step_samples))
    np.testing.assert_allclose(stream.clip(sound), sliding.clip(sound), atol=1e-4)
    if samples <= 16_000:
        np.testing.assert_allclose(answers[0], stream.clip(sound), atol=1e-4)


def test_a_stream_file_answers_at_each_step_and_before_the_next_one_is_heard(exported_causal):
    spotter = Spotter.load(exported_causal / "kws_stream.tflite")
    heard = 0

    def blocks():
        nonlocal heard
        for _ in range(400):
            heard += 100
            yield np.zeros(100, np.float32)

    answered = [heard for _ in spotter.windows(blocks())]
    assert answered[:3] == [16_000, 17_300, 18_600]  # a step is 1,280 samples; sound comes by the 100


def test_without_the_front_end_of_devices_one_line_says_what_to_install(exported_micro, monkeypatch):
    monkeypatch.setattr("kws.spotting.spotter.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"^this model needs the package pymicro-features: pip install 'kws\[micro\]'$"):
        Spotter.load(exported_micro / "kws.tflite")


def test_both_kinds_of_model_agree_and_short_clips_are_padded(exported):
    float32, int8 = (Spotter.load(exported / file) for file in ("kws.tflite", "kws_int8.tflite"))
    waveform = tone(300)
    np.testing.assert_allclose(float32.clip(waveform), int8.clip(waveform), atol=0.05)
    short = waveform[:11_000]
    np.testing.assert_array_equal(float32.clip(short), float32.clip(np.pad(short, (0, 5000))))


def test_the_model_that_takes_features_does_not_take_sound(exported, exported_causal):
    with pytest.raises(UserError, match=r"takes features, not sound: use kws\.tflite or kws_int8\.tflite"):
        Spotter.load(exported / "kws_features.tflite")
    with pytest.raises(UserError, match="takes features, not sound"):
        Spotter.load(exported_causal / "kws_stream_features.tflite")
    network = Network.load(exported / "kws_features.tflite")
    assert network.probabilities(FRONT_END.log_mel(tone(3000))).argmax() == 1


def test_a_model_that_is_none_is_one_line(exported, tmp_path):
    with pytest.raises(UserError, match=r"nothing\.tflite: no such model; dvc repro export writes models/export"):
        Network.load(tmp_path / "nothing.tflite")
    (tmp_path / "text.tflite").write_text("hello, world")
    with pytest.raises(
        UserError, match=r"text\.tflite: not a model of the export stage, or damaged: The model is not a valid"
    ):
        Network.load(tmp_path / "text.tflite")
    cut = tmp_path / "cut.tflite"
    shutil.copy(exported / "kws.tflite", cut)
    cut.write_bytes(cut.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"cut\.tflite: not a model of the export stage, or damaged"):
        Network.load(cut)
