import json
import zlib
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest
from conftest import make_spec

from kws.core.errors import UserError
from kws.core.params import CAUSAL, Params
from kws.train import models, networks
from kws.train.litert import network_file
from kws.train.networks import NETWORKS

USUAL = (49, 40)  # frames, Mel bins: of the presets
SHAPES = dict.fromkeys(NETWORKS, USUAL) | {  # of a network's paper, where it tells them
    "bc_resnet": (101, 40),
    "cnn": (59, 80),
    "ds_cnn": (49, 10),
    "matchboxnet": (98, 40),
    "tc_resnet": (98, 40),
}
CLASSES = 12


def build(name: str) -> keras.Model:
    return NETWORKS[name](*SHAPES[name], CLASSES, 1.0)


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def network(request) -> keras.Model:
    keras.utils.set_random_seed(1)
    return build(request.param)


def answers(network: keras.Model, clips: np.ndarray) -> np.ndarray:
    return network(clips, training=False).numpy()  # a call is faster here than a prediction, which compiles first


def size(weights) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_the_networks_are_those_that_the_parameters_allow():
    assert set(NETWORKS) == set(get_args(Params.model_fields["model"].annotation))
    folder = Path(networks.__file__).parent
    assert set(NETWORKS) == {path.stem for path in folder.glob("*.py")} - {"__init__", "layers"}


@pytest.mark.parametrize(
    ("name", "shape", "classes", "width", "parameters"),
    [
        ("tc_resnet", (98, 40), 12, 1, 65_168),
        ("tc_resnet", (98, 40), 12, 1.5, 144_264),
        ("matchboxnet", (98, 40), 12, 1, 71_556),
        ("matchboxnet", (49, 40), 10, 1, 68_578),
        ("ds_cnn", (49, 10), 12, 1, 23_756),
        ("bc_resnet", (101, 40), 12, 1, 9232),
        ("bc_resnet", (101, 40), 12, 1.5, 17_154),
        ("bc_resnet", (101, 40), 12, 2, 27_284),
        ("bc_resnet", (101, 40), 12, 3, 54_168),
        ("bc_resnet", (101, 40), 12, 6, 187_812),
        ("bc_resnet", (101, 40), 12, 8, 321_068),
        ("cnn", (59, 80), 10, 1, 1_625_866),
    ],
)
def test_each_network_has_as_many_trainable_parameters_as_its_paper_says(name, shape, classes, width, parameters):
    assert size(NETWORKS[name](*shape, classes, width).trainable_weights) == parameters


def test_matchboxnet_has_the_papers_parameters_with_the_statistics_of_its_batch_normalisations_too():
    network = NETWORKS["matchboxnet"](49, 40, 10, 1)
    counted = [layer for layer in network.layers if not isinstance(layer, keras.layers.Normalization)]
    assert size(weight for layer in counted for weight in layer.weights) == 70_114


def test_two_convolutions_over_time_and_frequency_stand_before_matchboxnet_and_the_rest_is_the_same():
    alone, behind = (NETWORKS[name](49, 40, 10, 1) for name in ("matchboxnet", "matchboxnet_2d"))
    stem = 3 * 3 * (1 * 12 + 12 * 24) + 2 * (12 + 24)  # kernels, and scale and offset of the normalisations
    first = (24 * 10 - 40) * (7 + 128)  # 24 channels of 10 bands in place of 40 Mel bins: kernel of 7, then 128 out
    assert size(behind.trainable_weights) - size(alone.trainable_weights) == stem + first


def test_the_kernels_of_matchboxnet_span_the_same_time_with_half_as_many_frames():
    def kernels(frames: int) -> list[int]:
        layers = NETWORKS["matchboxnet"](frames, 40, 12, 1).layers
        return [layer.kernel_size[0] for layer in layers if isinstance(layer, keras.layers.SeparableConv1D)]

    assert kernels(98) == [11, 13, 15, 17, 29]
    assert kernels(49) == [7, 7, 9, 9, 15]


def test_the_cnn_is_the_tutorials_one_layer_by_layer():
    cnn = NETWORKS["cnn"](59, 80, 10, 1)
    table = [(type(layer).__name__, layer.output.shape[1:], layer.count_params()) for layer in cnn.layers]
    assert table == [
        ("Resizing", (32, 32, 1), 0),
        ("Normalization", (32, 32, 1), 3),
        ("Conv2D", (30, 30, 32), 320),
        ("Conv2D", (28, 28, 64), 18_496),
        ("MaxPooling2D", (14, 14, 64), 0),
        ("Dropout", (14, 14, 64), 0),
        ("Flatten", (12_544,), 0),
        ("Dense", (128,), 1_605_760),
        ("Dropout", (128,), 0),
        ("Dense", (10,), 1290),
    ]
    assert cnn.count_params() == 1_625_869
    assert [layer.rate for layer in cnn.layers if isinstance(layer, keras.layers.Dropout)] == [0.25, 0.5]
    activations = [layer.activation.__name__ for layer in cnn.layers if hasattr(layer, "activation")]
    assert activations == ["relu", "relu", "relu", "linear"]


def test_the_answer_is_a_logit_for_each_class(network):
    clips = np.random.default_rng(0).normal(size=(3, *network.input_shape[1:])).astype(np.float32)
    logits = answers(network, clips)
    assert network.input_shape == (None, *SHAPES[network.name], 1)
    assert logits.shape == (3, CLASSES)
    assert logits.min() < 0  # no probabilities
    assert np.ptp(logits, axis=0).min() > 0  # each depends on the clip


def test_each_has_a_normalization_that_training_adapts_and_an_embedding_before_the_logits(network):
    normalization, embedding = network.get_layer("normalization"), network.get_layer("embedding")
    assert isinstance(normalization, keras.layers.Normalization)
    assert len(embedding.output.shape) == 2
    logits = network.get_layer("logits")
    assert logits is network.layers[-1]
    assert logits.input.shape == embedding.output.shape
    assert not normalization.trainable_weights


def test_the_normalization_gives_each_mel_bin_mean_0_and_variance_1_over_the_training_clips(network):
    loudness = np.linspace(-9, 3, network.input_shape[2], dtype=np.float32)[:, None]
    noise = np.random.default_rng(0).normal(size=(8, *network.input_shape[1:])).astype(np.float32)
    fresh = build(network.name)
    normalization = fresh.get_layer("normalization")
    seen = keras.Model(fresh.inputs[0], normalization.input)(noise * loudness + loudness)
    normalization.adapt(seen)
    normalised = normalization(seen).numpy()
    axes = None if network.name == "cnn" else (0, 1, 3)  # one mean for the whole picture, as in the tutorial
    np.testing.assert_allclose(normalised.mean(axes), 0, atol=1e-4)
    np.testing.assert_allclose(normalised.std(axes), 1, atol=1e-4)


def test_all_names_are_given_so_that_building_twice_gives_the_same_network(network):
    again = build(network.name)
    assert [layer.name for layer in again.layers] == [layer.name for layer in network.layers]
    assert again.get_config() == network.get_config()
    assert [weight.path for weight in again.weights] == [weight.path for weight in network.weights]


def test_a_saved_network_gives_the_same_answers(network, tmp_path):
    clips = np.random.default_rng(0).normal(size=(3, *network.input_shape[1:])).astype(np.float32)
    models.save_model(network, tmp_path / "kws.keras", make_spec())
    loaded, _ = models.load_model(tmp_path / "kws.keras")
    np.testing.assert_array_equal(answers(loaded, clips), answers(network, clips))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_narrowest_network_gives_answers_too(name):
    network = NETWORKS[name](*SHAPES[name], CLASSES, 0.125)
    assert network.get_layer("embedding").output.shape[-1] < build(name).get_layer("embedding").output.shape[-1]
    assert answers(network, np.zeros((1, *SHAPES[name], 1), np.float32)).shape == (1, CLASSES)


@pytest.mark.parametrize("name", ["cnn", "ds_cnn", "matchboxnet", "matchboxnet_2d"])
def test_width_multiplies_the_channels(name):
    narrow, wide = (NETWORKS[name](*SHAPES[name], CLASSES, width) for width in (1, 2))
    assert wide.get_layer("embedding").output.shape[-1] == 2 * narrow.get_layer("embedding").output.shape[-1]


@pytest.mark.parametrize(
    ("name", "digests"),
    [
        ("bc_resnet", (3656229861, 3680621576)),
        ("cnn", (2922711076, 2922711076)),
        ("ds_cnn", (4151479053, 2468296643)),
        ("matchboxnet", (2135050453, 2169751881)),
        ("matchboxnet_2d", (1983628129, 2676302228)),
        ("tc_resnet", (2976988801, 1458174386)),
    ],
)
def test_without_causal_layers_and_weights_are_as_before_there_was_a_choice(name, digests):
    def digest(frames: int) -> int:
        network = NETWORKS[name](frames, 40, 12, 1.25, causal=False)
        weights = [(weight.path, list(weight.shape)) for weight in network.weights]
        layers = [(type(layer).__name__, layer.name, list(layer.output.shape)) for layer in network.layers]
        return zlib.crc32(json.dumps([weights, layers]).encode())

    assert (digest(49), digest(98)) == digests


@pytest.mark.parametrize(
    ("name", "kernels", "frames_left"),
    [
        ("ds_cnn", [[10, 3, 3, 3, 3]] * 2, (12, 37)),
        ("matchboxnet", [[5, 7, 7, 9, 15], [11, 13, 15, 17, 29]], (11, 18)),
        ("matchboxnet_2d", [[3, 3, 5, 7, 7, 9, 15], [3, 3, 11, 13, 15, 17, 29]], (7, 14)),
        ("tc_resnet", [[3, 3, 2, 3, 3, 2, 3, 3, 3], [3, 5, 2, 5, 5, 2, 5, 5, 5]], (4, 7)),
    ],
)
def test_a_causal_networks_kernels_leave_frames_of_a_clip_to_average_over(name, kernels, frames_left):
    for frames, expected, left in zip((49, 98), kernels, frames_left, strict=True):
        network = NETWORKS[name](frames, 40, CLASSES, 1, causal=True)
        over_time = [layer.kernel_size[0] for layer in network.layers if hasattr(layer, "kernel_size")]
        assert [kernel for kernel in over_time if kernel > 1] == expected
        assert network.get_layer("embedding").input.shape[1] == left


def test_those_that_can_be_causal_are_those_that_the_parameters_allow():
    for name in NETWORKS:
        if name in CAUSAL:
            paddings = {
                layer.padding for layer in NETWORKS[name](98, 40, 2, 1, causal=True).layers if hasattr(layer, "strides")
            }
            assert paddings == {"valid"}
        else:
            with pytest.raises(AssertionError):
                NETWORKS[name](98, 40, 2, 1, causal=True)


@pytest.mark.parametrize(
    ("name", "frames"), [("ds_cnn", 25), ("matchboxnet", 10), ("matchboxnet_2d", 14), ("tc_resnet", 30)]
)
def test_a_clip_of_too_few_frames_for_a_causal_network_is_refused_in_one_line(name, frames):
    with pytest.raises(
        UserError, match=r"^causal: true needs clips of more frames: layer \w+ spans \d+, and finds \d; take"
    ):
        NETWORKS[name](frames, 40, 2, 1, causal=True)
    assert NETWORKS[name](49, 40, 2, 1, causal=True)


def test_a_network_with_a_loop_is_refused_before_its_8_bits_are_made():
    log_mel = keras.Input((9, 4, 1))
    embedding = keras.layers.GRU(3, name="embedding")(keras.layers.Reshape((9, 4))(log_mel))
    with pytest.raises(UserError, match="has a loop: give its recurrent layers unroll=True"):
        network_file(keras.Model(log_mel, keras.layers.Dense(2)(embedding)))
