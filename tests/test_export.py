import json

import keras
import numpy as np
import pytest
from conftest import EVALUATED, FRONT_END, ROOT, make_spec, tone

from kws.export import flatbuffer
from kws.export.convert import convert_network, front_end_model
from kws.export.detection import detection
from kws.records.write import RecordWriter
from kws.spotting.litert import Network, read_about
from kws.train import litert
from kws.train.litert import calibration_clips, network_file, network_int8_file, to_litert
from kws.train.networks import NETWORKS

WORDS = ["no", "yes", "_unknown_"]


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A folder of training clips alone, noise of several colours; and its spec."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    with RecordWriter(folder, {"train": 40}) as records:
        for number in range(40):
            hiss = np.cumsum(rng.normal(scale=0.02, size=16_000)) if number % 2 else rng.normal(scale=0.05, size=16_000)
            power = FRONT_END.with_margins(hiss.astype(np.float32))
            records.write("train", f"{number:02d}.wav", "ada", number % 3, power)
    return folder, make_spec(FRONT_END, WORDS, train=40)


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def converted(request, features):
    """A network that has seen nothing, its layer of logits made decided; and its files."""
    folder, spec = features
    keras.utils.set_random_seed(1)
    model = NETWORKS[request.param](FRONT_END.frames, FRONT_END.mel_bins, len(WORDS), 1.0)
    model.get_layer("normalization").adapt(calibration_clips(folder, spec))
    int8 = network_int8_file(model, calibration_clips(folder, spec))
    return model, convert_network(network_file(model), int8, spec, detection(EVALUATED))


def test_each_file_answers_as_keras_does(converted):
    model, files = converted
    networks = {kind: Network(content) for kind, content in files.items()}
    rng = np.random.default_rng(2)
    for level in (0.04, 0.05):  # as the clips that calibrated it
        waveform = rng.normal(scale=level, size=16_000).astype(np.float32)
        log_mel = FRONT_END.log_mel(waveform)
        expected = keras.ops.softmax(model(log_mel[None, ..., None], training=False)).numpy()[0]
        np.testing.assert_allclose(networks["float32"].probabilities(waveform), expected, atol=1e-5)
        of_int8 = networks["int8"].probabilities(waveform)
        np.testing.assert_allclose(of_int8, expected, atol=0.05)
        np.testing.assert_allclose(networks["features"].probabilities(log_mel), of_int8, atol=0.01)


def test_only_operators_that_litert_has_and_in_8_bits_the_float_ones_are_those_of_the_front_end(converted):
    _, files = converted
    for content in files.values():
        assert not [name for name in flatbuffer.operators(content) if name.startswith(("CUSTOM", "FLEX"))]
    assert flatbuffer.operators(files["features"])["QUANTIZE"] >= 1
    assert flatbuffer.operators(files["features"])["DEQUANTIZE"] == 1
    added = flatbuffer.operators(files["int8"]) - flatbuffer.operators(files["features"])
    front = flatbuffer.operators(flatbuffer.join([to_litert(front_end_model(FRONT_END))], {}))
    assert added == front


def test_the_microcontroller_example_has_every_operator(converted):
    _, files = converted
    example = (ROOT / "examples" / "micro" / "main.cc").read_text()
    added = {
        line.split("resolver.Add")[1].split("(")[0].upper() for line in example.splitlines() if "resolver.Add" in line
    }
    assert {name.replace("_", "") for name in flatbuffer.operators(files["features"])} <= added
    assert f"MicroMutableOpResolver<{len(added)}>" in example


def test_on_microcontrollers_the_answer_is_the_same(converted):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="needs the package tflite-micro")
    _, files = converted
    micro = runtime.Interpreter.from_bytes(files["features"])
    log_mel = FRONT_END.log_mel(tone(440))
    micro.set_input(log_mel[None, ..., None], 0)
    micro.invoke()
    np.testing.assert_allclose(micro.get_output(0)[0], Network(files["features"]).probabilities(log_mel), atol=0.05)


def test_a_file_says_what_it_is(converted):
    _, files = converted
    for kind, content in files.items():
        assert read_about(content) == {
            "kind": kind,
            "classes": WORDS,
            "threshold": 0.6,
            "stream_hours": 4.0,
            "measured_with": "float32",  # also what is in 8 bits
            "sensitivities": {
                name: {
                    figure: EVALUATED[f"{name}_{figure}"]
                    for figure in (
                        *("threshold", "allowed_false_alarms_an_hour"),
                        *(
                            f"{split}_{what}{end}"
                            for split in ("validation", "test")
                            for what in ("false_alarms_an_hour", "missed")
                            for end in ("", "_low", "_high")
                        ),
                    )
                }
                for name in ("few_misses", "balanced", "few_false_alarms")
            },
            "front_end": FRONT_END.to_json(),
        }


def test_same_network_same_bytes_and_constants_are_aligned(features):
    folder, spec = features
    keras.utils.set_random_seed(1)
    model = NETWORKS["tc_resnet"](FRONT_END.frames, FRONT_END.mel_bins, len(WORDS), 1.0)
    clips = calibration_clips(folder, spec)
    first, second = (
        convert_network(network_file(model), network_int8_file(model, clips), spec, {"threshold": 0.5})
        for _ in range(2)
    )
    assert first == second
    assert len(first["int8"]) < len(first["float32"]) / 3
    for content in first.values():
        model_of = flatbuffer.schema.Model.GetRootAs(content, 0)
        base = np.frombuffer(content, np.uint8).ctypes.data
        buffers = [model_of.Buffers(number) for number in range(model_of.BuffersLength())]
        starts = [buffer.DataAsNumpy().ctypes.data - base for buffer in buffers if not buffer.DataIsNone()]
        assert len(starts) > 10
        assert not [start for start in starts if start % 16]


def test_calibration_takes_training_clips_evenly(features, monkeypatch):
    folder, spec = features
    everything = calibration_clips(folder, spec)
    assert everything.shape == (40, FRONT_END.frames, FRONT_END.mel_bins, 1)
    monkeypatch.setattr(litert, "CALIBRATION_CLIPS", 10)
    np.testing.assert_array_equal(calibration_clips(folder, spec), everything[::4])


def test_peak_memory_is_the_most_that_is_alive_at_a_time(exported):
    # of the front end: frames before and after the window, 49 x 480 floats; or a spectrum, 49 x 257 complex, and parts
    peak = flatbuffer.peak_memory((exported / "kws.tflite").read_bytes())
    assert 49 * 257 * 8 < peak < 4 * 49 * 512 * 4
    # of the features: 49 x 40 floats, and the same in 8 bits
    assert flatbuffer.peak_memory((exported / "kws_features.tflite").read_bytes()) == 49 * 40 * (4 + 1)


def test_a_file_of_another_program_is_refused():
    part = to_litert(front_end_model(FRONT_END))
    with pytest.raises(ValueError, match=r"no kws\.json in its metadata"):
        read_about(part)
    with pytest.raises(ValueError, match="not a valid Flatbuffer"):
        Network(b"hello, world")
    assert read_about(flatbuffer.join([part], {"a": 1})) == {"a": 1}
    assert json.dumps({"a": 1}).encode() in flatbuffer.join([part], {"a": 1})
