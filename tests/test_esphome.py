"""The pair of a word for ESPHome: its manifest, the memory that it needs, and what is refused."""

import importlib.util
import json
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from kws.export import esphome, flatbuffer
from kws.train import device
from kws.train.litert import to_litert
from kws.train.networks import NETWORKS

FIGURES = {
    "step_frames": 3,
    "size": 5,
    "cutoff": 0.8353,
    "differs_by": 0.012,
    "lost": 0.011,
    "lost_low": -0.004,
    "words": 60,
}
needs_tflm = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro has no wheel for this machine"
)


@pytest.fixture(scope="module")
def file():
    """A word's file, of a network that was not trained."""
    keras.utils.set_random_seed(1)
    model = NETWORKS["matchboxnet"](98, 40, 3, 0.25, causal=True)
    clips = np.random.default_rng(1).uniform(0, 26, (8, 98, 40, 1)).astype(np.float32)
    model.get_layer("normalization").adapt(clips)
    return device.device_file(model, 0, clips)


def test_the_manifest_is_of_version_2_with_room_in_the_arena():
    told = esphome.manifest("hey küche", "hey_ku00fcche.tflite", FIGURES, 20_001, "de")
    assert told == {
        "type": "micro",
        "wake_word": "hey küche",
        "author": "kws",
        "model": "hey_ku00fcche.tflite",
        "trained_languages": ["de"],
        "version": 2,
        "micro": {
            "probability_cutoff": 0.8353,
            "sliding_window_size": 5,
            "feature_step_size": 10,
            "tensor_arena_size": 30_016,  # 1.5 times, rounded up to 16
            "minimum_esphome_version": "2024.7.0",
        },
    }


@needs_tflm
def test_the_arena_is_the_smallest_in_which_tflm_runs(file):
    from tflite_micro.python.tflite_micro.runtime import Interpreter

    content = flatbuffer.without_names(file)
    arena = esphome.arena_bytes(content)
    assert arena % 16 == 0
    assert flatbuffer.peak_memory(content) < arena < len(content)
    Interpreter.from_bytes(content, arena_size=arena).invoke()
    with pytest.raises(RuntimeError):
        Interpreter.from_bytes(content, arena_size=arena - 16)


def test_without_tflite_micro_the_arena_is_unknown(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro.runtime", None)
    assert esphome.arena_bytes(file) is None
    assert esphome.refusals(file, FIGURES, None) == [
        "the memory that it needs is unknown: package tflite-micro, for Linux on x86-64, measures it"
    ]


@needs_tflm
def test_where_tflm_lacks_an_operator_the_arena_is_unknown_and_the_line_names_the_operator(tmp_path):
    x = keras.Input((10, 8), batch_size=1)
    content = to_litert(keras.Model(x, keras.ops.arctan2(x, x + 1)))
    assert esphome.arena_bytes(content) is None
    costs, [line] = esphome.write_pairs(tmp_path / "esphome", {"marvin": content}, {"marvin": FIGURES}, "en")
    assert costs == {}
    assert "ESPHome does not have the operators" in line
    assert [path.name for path in (tmp_path / "esphome").iterdir()] == ["refused.txt"]


def test_a_good_file_is_not_refused(file):
    content = flatbuffer.without_names(file)
    assert esphome.refusals(content, FIGURES, 20_000) == []
    without_words = {name: value for name, value in FIGURES.items() if not name.startswith("lost")}
    assert esphome.refusals(content, without_words, 20_000) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"differs_by": 0.06}, "8 bits change the scores by 0.06, where 0.05 is the most"),
        ({"balanced_validation_missed": 1.0}, "it hears no word of the validation stream at the cutoff of balanced"),
        (
            {"lost": 0.05, "lost_low": 0.021},
            "8 bits miss 5.0% of the words more, at least 2.1% (95 %), where 2.0% are the most",
        ),
        ({"step_frames": 4}, "its input is int8 (1, 3, 40) in steps of 0.101961 from -128, not int8 (1, 4, 40) in "),
    ],
)
def test_a_file_that_loses_too_much_or_is_of_another_form_is_refused(file, changes, reason):
    [line] = esphome.refusals(file, FIGURES | changes, 20_000)
    assert line.startswith(reason)


def test_operators_that_esphome_does_not_have_are_named():
    features = keras.Input((3, 40), batch_size=1)
    probability = keras.ops.softmax(keras.layers.Dense(2)(keras.layers.Flatten()(features)))[:, :1]
    content = to_litert(keras.Model(features, probability - 0.5))
    lines = esphome.refusals(content, FIGURES, 20_000)
    assert lines[0] == "ESPHome does not have the operators SOFTMAX, SUB"
    assert lines[1].startswith("its input is float32 (1, 3, 40) in steps of 0 from 0, not int8 (1, 3, 40) in steps of ")
    assert lines[2].startswith("its output is float32 (1, 1) in steps of 0 from 0, not uint8 (1, 1) in steps of 0.0039")


def test_more_states_than_esphome_holds_are_refused(file, monkeypatch):
    monkeypatch.setattr(esphome, "MOST_STATES", 5)
    assert esphome.refusals(file, FIGURES, 20_000) == ["it has 6 states, where 5 are the most"]


@needs_tflm
def test_pairs_are_written_and_refusals_are_told(file, tmp_path):
    files = {"marvin": file, "да": file, "stop": file}
    figures = {"marvin": FIGURES, "да": FIGURES | {"differs_by": 0.5}, "stop": FIGURES | {"cutoff": 0.9, "size": 3}}
    costs, lines = esphome.write_pairs(tmp_path / "esphome", files, figures, "en")
    names = sorted(path.name for path in (tmp_path / "esphome").iterdir())
    assert names == ["marvin.json", "marvin.tflite", "refused.txt", "stop.json", "stop.tflite"]
    content = (tmp_path / "esphome" / "marvin.tflite").read_bytes()
    told = json.loads((tmp_path / "esphome" / "marvin.json").read_text())
    assert (told["wake_word"], told["model"], told["trained_languages"]) == ("marvin", "marvin.tflite", ["en"])
    assert told["micro"]["tensor_arena_size"] >= 1.5 * costs["esphome_marvin_arena_bytes"]
    stop = json.loads((tmp_path / "esphome" / "stop.json").read_text())
    assert (stop["micro"]["probability_cutoff"], stop["micro"]["sliding_window_size"]) == (0.9, 3)
    assert costs["esphome_marvin_bytes"] == len(content) < len(file)
    per_second = costs["esphome_marvin_multiplications"] * 100 / 3
    assert costs["esphome_marvin_multiplications_a_second"] == pytest.approx(per_second, abs=1)
    assert not [name for name in costs if "да" in name]
    refused = "да: no files for ESPHome, since 8 bits change the scores by 0.5, where 0.05 is the most"
    assert lines[0].startswith(f"esphome/marvin.json: {len(content):,} bytes, ")
    assert lines[0].endswith(" bytes of memory, cutoff 0.8353, window of 5 scores")
    assert lines[-1] == refused
    assert (tmp_path / "esphome" / "refused.txt").read_text(encoding="utf-8") == refused + "\n"


def test_names_are_left_out_and_states_stay_apart(file):
    content = flatbuffer.without_names(file)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    assert not [tensor.name for graph in model.subgraphs for tensor in graph.tensors if tensor.name]
    handles = [
        operator.builtinOptions.sharedName
        for operator in model.subgraphs[0].operators
        if isinstance(operator.builtinOptions, schema.VarHandleOptionsT)
    ]
    assert len(set(handles)) == len(handles) == 6
    assert flatbuffer.all_operators(content) == flatbuffer.all_operators(file)
