import importlib.util

import keras
import numpy as np
import pytest
from conftest import FRONT_END, ROOT
from test_clients import environment_of, needs_network

from kws.core.errors import UserError
from kws.core.files import read_json
from kws.export import operations
from kws.export.convert import front_end_model
from kws.export.flatbuffer import peak_memory
from kws.export.operations import multiplications
from kws.train.litert import to_litert
from kws.train.networks import NETWORKS

layers = keras.layers


def converted(*stack, shape=(12, 10, 1), calibration=None) -> bytes:
    inputs = keras.Input(shape, batch_size=1)
    x = inputs
    for layer in stack:
        x = layer(x)
    return to_litert(keras.Model(inputs, x), calibration)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: layers.Conv2D(6, (3, 4)), 10 * 7 * 6 * 3 * 4),
        (lambda: layers.Conv2D(6, (3, 4), strides=(2, 1), padding="same"), 6 * 10 * 6 * 3 * 4),
        (lambda: layers.DepthwiseConv2D((5, 3), depth_multiplier=2), 8 * 8 * 2 * 5 * 3),
        (lambda: layers.MaxPooling2D(2), 0),
        (lambda: layers.Rescaling(2.0), 12 * 10),
    ],
)
def test_products_of_a_layer(layer, expected):
    assert multiplications(converted(layer())) == expected


def test_products_of_layers_add_up_and_8_bits_have_as_many():
    stack = (layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(7), layers.Dense(3))
    expected = 10 * 8 * 4 * 9 + 320 * 7 + 7 * 3
    assert multiplications(converted(*stack)) == expected
    clips = np.random.default_rng(0).normal(size=(3, 12, 10, 1)).astype(np.float32)
    assert multiplications(converted(*stack, calibration=clips)) == expected


def test_a_convolution_over_time_with_dilation():
    content = converted(layers.Conv1D(5, 3, dilation_rate=2), shape=(20, 4))
    assert multiplications(content) == 16 * 5 * 3 * 4


def test_products_of_the_front_end():
    frames, bins = 49, 257
    window, fft, power = frames * 480, frames * 512 * 9, frames * 2 * bins
    used = [np.flatnonzero(mels.any(axis=1)) for mels in np.array_split(FRONT_END.weights, 8, axis=1)]
    mel = frames * sum(5 * (band[-1] + 1 - band[0]) for band in used)
    assert multiplications(to_litert(front_end_model(FRONT_END))) == window + fft + power + mel


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_operators_of_every_network_are_known(name):
    model = NETWORKS[name](FRONT_END.frames, FRONT_END.mel_bins, 3, 1.0)
    log_mel = keras.Input(model.input_shape[1:], batch_size=1)
    assert multiplications(to_litert(keras.Model(log_mel, model(log_mel, training=False)))) > 100_000


def test_a_file_with_an_operator_without_a_count_has_its_other_costs(monkeypatch):
    content = converted(layers.MaxPooling2D(2))
    whole = operations.cost(content, 10.0)
    assert whole["multiplications_a_second"] == whole["multiplications"] == 0
    assert operations.uncounted(content) == []
    monkeypatch.setattr(operations, "_NONE", operations._NONE - {"MAX_POOL_2D"})
    assert operations.uncounted(content) == ["MAX_POOL_2D"]
    assert operations.cost(content, 10.0) == {name: whole[name] for name in ("bytes", "peak_memory_bytes")}
    with pytest.raises(UserError, match="how many multiplications MAX_POOL_2D takes stands in no list"):
        multiplications(content)


@needs_network
def test_the_official_wake_words_cost_what_the_card_says(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from official_models import JSON, official_models

    [packages] = environment_of("clients").parent.glob("lib/python*/site-packages")
    counted, told = official_models(packages), read_json(JSON)
    if importlib.util.find_spec("tflite_micro") is None:
        for model in told["models"].values():
            model["arena_bytes"] = None  # it was measured on another machine
    assert counted == told
    frames = 6000 + 150 + 1800  # the first blocks of hey_jarvis: 30 x 5 x 40, 5 x 30, 60 x 30
    rest = (9 + 13 + 21) * 60 + 3 * 60 * 60 + 5 * 60 + 1  # three more, the sum over the newest five, the sigmoid
    assert told["models"]["hey_jarvis"]["multiplications"] == frames + rest


class Delay(layers.Layer):
    """The frame before, from a state."""

    def build(self, _):
        self.frame = self.add_weight(shape=(1, 6), initializer="zeros", trainable=False)

    def call(self, x):
        before = keras.ops.copy(self.frame)
        self.frame.assign(x)
        return before * 2 + x


def test_states_need_memory_from_one_inference_to_the_next():
    content = converted(Delay(), shape=(6,))
    assert multiplications(content) == 6
    assert peak_memory(content) == 6 * 4 + 3 * 6 * 4  # the state; and the frame before, its double, and the input
