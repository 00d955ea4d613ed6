"""The LiteRT files of a causal network that hears step by step."""

import runpy

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import ROOT, make_front_end, make_spec
from test_streaming import FRAMES, MEL_BINS, sound, trained

from kws.core import paths
from kws.core.files import write_json
from kws.core.params import CAUSAL
from kws.export.flatbuffer import operators
from kws.records.write import RecordWriter, write_background_power
from kws.train.litert import stream_file, stream_int8_file

STEP = 4
ALL_IN_8_BITS = {
    *("ADD", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "MUL", "PAD", "RESHAPE"),
    *("ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "STRIDED_SLICE", "VAR_HANDLE"),
}


@pytest.fixture(scope="module", params=CAUSAL)
def network(request) -> keras.Model:
    return trained(request.param, FRAMES)


def heard(content: bytes, log_mel: np.ndarray, output: str) -> np.ndarray:
    """The answers of a file, one after each step: (steps, classes)."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    return np.concatenate([run(log_mel=step)[output] for step in np.split(log_mel, log_mel.shape[1] // STEP, axis=1)])


def whole_clips(network: keras.Model, log_mel: np.ndarray) -> np.ndarray:
    """The logits for each clip that ends with a step, once there are enough frames."""
    ends = range(-(-FRAMES // STEP) * STEP, log_mel.shape[1] + 1, STEP)
    return network(np.concatenate([log_mel[:, end - FRAMES : end] for end in ends]), training=False).numpy()


def test_the_file_answers_as_the_network_does_to_the_newest_clip(network):
    log_mel = sound(120)
    expected = keras.ops.softmax(whole_clips(network, log_mel)).numpy()
    answers = heard(stream_file(network, STEP), log_mel, "probabilities")
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(answers[-len(expected) :], expected, atol=1e-4)


def test_the_file_in_8_bits_gives_nearly_the_same_and_holds_nothing_in_float_inside(network):
    log_mel = sound(2000)
    calibration = log_mel[:, : 1000 // FRAMES * FRAMES].reshape(-1, FRAMES, MEL_BINS, 1)
    content = stream_int8_file(network, STEP, calibration)
    found = operators(content)
    assert (found.pop("QUANTIZE"), found.pop("DEQUANTIZE")) == (1, 1)  # of input and output
    assert set(found) <= ALL_IN_8_BITS

    expected = whole_clips(network, log_mel)
    answers = heard(content, log_mel, "logits")[-len(expected) :]
    assert np.abs(answers - expected).mean() < 0.2 * expected.std(axis=0).mean()
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95


def test_same_network_same_bytes_whatever_was_built_before():
    network, calibration = trained("tc_resnet", FRAMES), sound(10 * FRAMES).reshape(-1, FRAMES, MEL_BINS, 1)
    first = stream_file(network, STEP), stream_int8_file(network, STEP, calibration)
    keras.layers.Softmax()(keras.layers.Dense(3)(keras.Input((4,))))
    assert (stream_file(network, STEP), stream_int8_file(network, STEP, calibration)) == first


def test_stage_train_writes_streams_of_a_causal_network_and_else_says_why_there_are_none(
    tmp_path, monkeypatch, write_params
):
    front_end = make_front_end(4000, 2000, 100, 50, 128, 16, 20.0, 2000.0, 1e-7)
    spec = make_spec(front_end, ["low", "high"], train=8, validation=4, test=4)
    rng = np.random.default_rng(0)
    (tmp_path / paths.FEATURES).mkdir(parents=True)
    with RecordWriter(tmp_path / paths.FEATURES, spec.clips) as records:
        for split, clips in spec.clips.items():
            for number in range(clips):
                power = np.exp(rng.normal(size=(front_end.frames + 2 * front_end.margin, 16))).astype(np.float32)
                records.write(split, f"{split}{number}", "voice", number % 2, power)
    write_background_power(tmp_path / paths.FEATURES, [])
    write_json(tmp_path / paths.SPEC, spec.to_json())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("KWS_TRACKING", "off")
    train = runpy.run_path(str(ROOT / "stages" / "train.py"))["main"]
    small = {"words": ["low", "high"], "model": "ds_cnn", "width": 0.125, "epochs": 1}

    write_params(**small, causal=True)
    train()
    assert sorted(paths.STREAMS.iterdir()) == [paths.STREAM_NETWORK, paths.STREAM_NETWORK_INT8]
    details = Interpreter(str(paths.STREAM_NETWORK)).get_signature_runner().get_input_details()
    assert details["log_mel"]["shape"].tolist() == [1, 4, 16, 1]  # a tenth of a clip of 39 frames

    write_params(**small, causal=False)
    train()
    [reason] = paths.STREAMS.iterdir()
    assert reason.read_text() == "Nothing is here: ds_cnn has causal: false, so that it hears whole clips only.\n"
