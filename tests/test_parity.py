import csv
import io
import tarfile

import numpy as np
import pytest
import soundfile
from conftest import FRONT_END, tone

from kws.core.errors import UserError
from kws.export import parity
from kws.recordings import background
from kws.spotting.litert import Network
from kws.spotting.spotter import Spotter

GOOD = {
    "test_clips": 2000,
    "keras_accuracy": 0.9,
    "float32_agreement": 1.0,
    "float32_largest_difference": 2e-6,
    "int8_accuracy": 0.898,
    "int8_agreement": 0.991,
    "features_accuracy": 0.9,
    "features_agreement": 0.992,
    "stream_keras_accuracy": 0.9,
    "stream_accuracy": 0.899,
}


def test_a_true_export_passes():
    parity.check(GOOD)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"float32_agreement": 0.9995}, "float32: another label than Keras's for 0.0005 of the test clips"),
        ({"float32_largest_difference": 2e-4}, "float32: probabilities differ by 0.0002 from Keras's, where 0.0001"),
        ({"float32_largest_difference": float("nan")}, "float32: probabilities differ by nan"),
        ({"int8_accuracy": 0.88}, "int8: accuracy falls by 0.02 of the test clips, where 0.0052 is the most"),
        ({"features_agreement": 0.97}, "features: another label than Keras's for 0.03 of the test clips"),
        ({"stream_accuracy": 0.903}, "stream: accuracy of a sliding window differs by 0.003 from whole clips'"),
    ],
)
def test_one_that_differs_is_refused_with_what_differs(change, told):
    with pytest.raises(UserError) as refused:
        parity.check(GOOD | change)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_of_a_hundred_clips_may_be_chance():
    few = GOOD | {"test_clips": 100, "int8_accuracy": 0.89, "int8_agreement": 0.98}
    parity.check(few)
    with pytest.raises(UserError, match="int8: accuracy falls by"):
        parity.check(few | {"int8_accuracy": 0.88})
    with pytest.raises(UserError, match="int8: another label than Keras's for"):
        parity.check(few | {"int8_agreement": 0.97})


@pytest.fixture
def split(tmp_path):
    """A manifest and an archive: two clips of tones, one of silence that featurize made, and others."""
    clips = {"low/a.wav": 300, "high/b.wav": 3000, "low/c.wav": 300}
    rows = [
        {"name": "low/a.wav", "class": "low", "speaker": "a", "split": "test", "status": "ok"},
        {"name": "high/b.wav", "class": "high", "speaker": "b", "split": "test", "status": "ok"},
        {"name": "low/c.wav", "class": "low", "speaker": "c", "split": "train", "status": "ok"},
        {"name": "low/d.wav", "class": "low", "speaker": "d", "split": "test", "status": "set aside"},
        {"name": "_silence_/test-00000", "class": "_silence_", "speaker": "nobody", "split": "test", "status": "ok"},
    ]
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with tarfile.open(tmp_path / "raw.tar", "w") as tar:
        for name, hertz in clips.items():
            sound = io.BytesIO()
            soundfile.write(sound, tone(hertz)[:14_000], 16_000, format="WAV", subtype="FLOAT")
            info = tarfile.TarInfo(name)
            info.size = sound.tell()
            sound.seek(0)
            tar.addfile(info, sound)
    noises = {"hiss": np.random.default_rng(0).normal(scale=0.01, size=200_000).astype(np.float32)}
    return tmp_path / "manifest.csv", tmp_path / "raw.tar", noises, FRONT_END


PLACE = {"_silence_/test-00000": 0, "high/b.wav": 1, "low/a.wav": 2}


def test_the_whole_test_split_is_heard_again_as_featurize_heard_it(split):
    heard = dict(parity.waveforms(*split))
    assert heard.keys() == PLACE.keys()
    np.testing.assert_array_equal(heard["low/a.wav"], np.pad(tone(300)[:14_000], (0, 2000)))
    made = background.silence("_silence_/test-00000", list(split[2].values()), "test", 16_000)
    np.testing.assert_array_equal(heard["_silence_/test-00000"], made)


def test_every_model_is_asked_about_every_clip(split, exported):
    files = {"float32": "kws.tflite", "int8": "kws_int8.tflite", "features": "kws_features.tflite"}
    networks = {kind: Network.load(exported / file) for kind, file in files.items()}
    answers = parity.ask(networks, parity.waveforms(*split), PLACE, FRONT_END)
    for kind in files:
        assert answers[kind].probabilities[1:].argmax(axis=1).tolist() == [1, 0]
        assert (answers[kind].seconds > 0).all()
    np.testing.assert_allclose(answers["int8"].probabilities, answers["features"].probabilities, atol=0.02)


def test_a_window_that_slides_over_the_clips_gives_the_answers_to_whole_clips(split, exported):
    spotter = Spotter.load(exported / "kws.tflite")
    assert spotter.clip_samples % spotter.step_samples == 0
    places, windows = parity.slide(spotter, parity.waveforms(*split), PLACE)
    clips = dict(parity.waveforms(*split))
    expected = {PLACE[name]: spotter.clip(waveform) for name, waveform in clips.items()}
    assert sorted(places) == [0, 1, 2]
    np.testing.assert_array_equal(windows, np.stack([expected[place] for place in places]))


def test_a_sample_of_many_clips_is_enough_for_the_stream(split, exported, monkeypatch):
    monkeypatch.setattr(parity, "STREAM_CLIPS", 1)
    places, windows = parity.slide(Spotter.load(exported / "kws.tflite"), parity.waveforms(*split), PLACE)
    assert places.tolist() == [0]
    assert windows.shape == (1, 3)


def test_figures_compare_with_keras_and_with_the_truth():
    keras = np.array([[0.6, 0.4], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]])
    answers = np.array([[0.4, 0.6], [0.2, 0.8], [0.9, 0.1], [0.31, 0.69]])
    assert parity.figures("int8", answers, keras, np.array([1, 1, 1, 1])) == {
        "int8_accuracy": 0.75,
        "int8_agreement": 0.75,
        "int8_largest_difference": 0.2,
    }
