import json

import keras
import numpy as np
import pytest
from conftest import EVALUATED, FRONT_END, ROOT, causal_network, export_tones, make_front_end, make_spec, tone

from kws.core.params import CAUSAL
from kws.export import flatbuffer
from kws.export.convert import convert_network, front_end_model, front_end_stream
from kws.export.detection import detection
from kws.export.operations import multiplications
from kws.records.write import RecordWriter
from kws.spotting.detect import Timing
from kws.spotting.litert import KINDS, Network, read_about
from kws.spotting.spotter import sliding
from kws.train import litert
from kws.train.litert import (
    calibration_clips,
    network_file,
    network_int8_file,
    stream_file,
    stream_int8_file,
    to_litert,
)
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


@pytest.fixture(scope="module", params=CAUSAL)
def converted_causal(request, features):
    """A causal network that has seen nothing, its layer of logits made decided; and its files."""
    folder, spec = features
    keras.utils.set_random_seed(1)
    model = NETWORKS[request.param](FRONT_END.frames, FRONT_END.mel_bins, len(WORDS), 1.0, causal=True)
    clips = calibration_clips(folder, spec)
    model.get_layer("normalization").adapt(clips)
    step = Timing.of(FRONT_END.clip_samples, FRONT_END.hop_length).step_frames
    streams = [stream_file(model, step), stream_int8_file(model, step, clips)]
    files = convert_network(network_file(model), network_int8_file(model, clips), spec, detection(EVALUATED), streams)
    return model, files


def test_a_stream_answers_as_keras_does_at_the_end_of_each_clip(converted_causal):
    model, files = converted_causal
    stream, of_features = (Network(files[kind]) for kind in ("stream", "stream_features"))
    rng = np.random.default_rng(2)
    for level in (0.04, 0.05, 0.04):
        waveform = rng.normal(scale=level, size=16_000).astype(np.float32)
        log_mel = FRONT_END.log_mel(waveform)
        expected = keras.ops.softmax(model(log_mel[None, ..., None], training=False)).numpy()[0]
        np.testing.assert_allclose(stream.clip(waveform), expected, atol=1e-5)
        np.testing.assert_allclose(of_features.clip(log_mel), expected, atol=0.05)


def test_the_front_end_step_by_step_hears_every_sample_once():
    """Also where a clip is no whole number of frames, and frames overlap by more than one."""
    front_end = make_front_end(16_000, 10_000, 600, 256, 1024, 20, 20.0, 7600.0, 1e-6)
    content = flatbuffer.join([to_litert(front_end_stream(front_end, 4))], {})
    network = Network(content)
    waveform = np.random.default_rng(0).normal(scale=0.1, size=10_000).astype(np.float32)
    padded = np.pad(waveform, (-10_000 % network.length, 0))
    steps = [network.probabilities(step) for step in np.split(padded, len(padded) // network.length)]
    log_mel = front_end.log_mel(waveform)
    np.testing.assert_allclose(np.concatenate(steps)[-len(log_mel) :, :, 0], log_mel, atol=1e-3)
    assert network.length == 4 * 256


def test_a_stream_takes_at_most_a_fifth_of_the_multiplications(converted_causal):
    _, files = converted_causal
    assert 5 * multiplications(files["stream"]) <= multiplications(files["float32"])
    assert 5 * multiplications(files["stream_features"]) <= multiplications(files["features"])


def test_a_stream_file_says_its_step(converted_causal):
    _, files = converted_causal
    whole = read_about(files["float32"])
    for kind in ("stream", "stream_features"):
        assert read_about(files[kind]) == whole | {"kind": kind, "step_frames": 4}


def test_same_causal_network_same_bytes(exported_causal, tmp_path):
    again = export_tones(causal_network(FRONT_END, silence=5), tmp_path, causal=True)
    for file in sorted(exported_causal.iterdir()):
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name
    assert len(list(again.iterdir())) == len(KINDS)


def test_only_operators_that_litert_has_and_in_8_bits_the_float_ones_are_those_of_the_front_end(converted):
    _, files = converted
    for content in files.values():
        assert not [name for name in flatbuffer.operators(content) if name.startswith(("CUSTOM", "FLEX"))]
    assert flatbuffer.operators(files["features"])["QUANTIZE"] >= 1
    assert flatbuffer.operators(files["features"])["DEQUANTIZE"] == 1
    added = flatbuffer.operators(files["int8"]) - flatbuffer.operators(files["features"])
    front = flatbuffer.operators(flatbuffer.join([to_litert(front_end_model(FRONT_END))], {}))
    assert added == front


def test_in_streams_too_only_operators_that_litert_has_and_all_but_the_softmax_in_8_bits(converted_causal):
    _, files = converted_causal
    for kind in ("stream", "stream_features"):
        assert not [name for name in flatbuffer.operators(files[kind]) if name.startswith(("CUSTOM", "FLEX"))]
    operators = flatbuffer.operators(files["stream_features"])
    assert (operators["QUANTIZE"], operators["DEQUANTIZE"]) == (1, 1)


def operators_of_the_example() -> set[str]:
    example = (ROOT / "examples" / "micro" / "main.cc").read_text()
    added = {
        line.split("resolver.Add")[1].split("(")[0].upper() for line in example.splitlines() if "resolver.Add" in line
    }
    assert f"MicroMutableOpResolver<{len(added)}>" in example
    return added


def test_the_microcontroller_example_has_every_operator(converted):
    _, files = converted
    assert {name.replace("_", "") for name in flatbuffer.operators(files["features"])} <= operators_of_the_example()


def test_the_microcontroller_example_has_every_operator_of_a_stream(converted_causal):
    _, files = converted_causal
    used = {name.replace("_", "") for name in flatbuffer.operators(files["stream_features"])}
    assert used <= operators_of_the_example()


def test_on_microcontrollers_the_answer_is_the_same(converted):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="needs the package tflite-micro")
    _, files = converted
    micro = runtime.Interpreter.from_bytes(files["features"])
    log_mel = FRONT_END.log_mel(tone(440))
    micro.set_input(log_mel[None, ..., None], 0)
    micro.invoke()
    np.testing.assert_allclose(micro.get_output(0)[0], Network(files["features"]).probabilities(log_mel), atol=0.05)


def test_on_microcontrollers_a_stream_gives_the_same_answers_step_by_step(converted_causal):
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="needs the package tflite-micro")
    _, files = converted_causal
    micro, network = runtime.Interpreter.from_bytes(files["stream_features"]), Network(files["stream_features"])
    sound = np.random.default_rng(0).normal(scale=0.05, size=24_000).astype(np.float32)
    log_mel = FRONT_END.log_mel(sound)
    for step in sliding([log_mel], 4, 4):
        micro.set_input(step[None, ..., None], 0)
        micro.invoke()
        np.testing.assert_allclose(micro.get_output(0)[0], network.probabilities(step), atol=0.06)  # docs/listening.md


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
