"""The files of words for small devices: what ESPHome demands of them, and that they answer as the network does."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from kws.export.esphome import MOST_STATES, OPERATORS
from kws.export.flatbuffer import all_operators, operators, without_names
from kws.spotting.device_rule import device_input
from kws.train import device
from kws.train.networks import NETWORKS

FRAMES, MELS, CLASSES, WORD = 98, 40, 4, 1
STEPS = {"matchboxnet": 3, "matchboxnet_2d": 3, "ds_cnn": 4, "tc_resnet": 4}


def features(clips, rng):
    """As front end micro gives them: whole numbers of 10/256, with slopes."""
    slopes = 8 + np.cumsum(rng.normal(0, 1.5, (clips, FRAMES, MELS)), axis=1)
    return (np.rint(np.clip(slopes, 0, 26) * 25.6) / 25.6).astype(np.float32)


@pytest.fixture(scope="module", params=STEPS)
def network(request):
    """A small causal network whose answers vary, sound, and the file of a word."""
    rng = np.random.default_rng(1)
    keras.utils.set_random_seed(1)
    model = NETWORKS[request.param](FRAMES, MELS, CLASSES, 0.25, causal=True)
    clips = features(20, rng)
    model.get_layer("normalization").adapt(clips[..., None])
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.8, 1.6, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.2, layer.beta.shape))
            layer.momentum = 0.0
    model(clips[..., None], training=True)  # batch normalisation takes the statistics of these clips
    last = model.layers[-1]
    embeddings = keras.Model(model.inputs[0], last.input)(clips[..., None]).numpy()
    spread = embeddings.std(axis=0)
    last.kernel.assign(rng.normal(0, 1, last.kernel.shape) / np.maximum(spread, spread.max() / 10)[:, None])
    if last.use_bias:
        last.bias.assign(-embeddings.mean(axis=0) @ last.kernel.numpy())
    return request.param, model, clips, without_names(device.device_file(model, WORD, clips[..., None]))


def expected(model, sound, ends):
    """The sigmoid of the word's logit less the largest other one, of the network that hears whole clips."""
    logits = model(np.stack([sound[end - FRAMES : end] for end in ends])[..., None]).numpy()
    return 1 / (1 + np.exp(np.delete(logits, WORD, axis=1).max(axis=1) - logits[:, WORD]))


def test_the_step_is_three_frames_or_four_where_the_network_skips_frames(network):
    name, model, *_ = network
    assert device.device_step(model) == STEPS[name]


def test_the_stream_answers_as_the_network_does_to_a_clip(network):
    name, model, clips, _ = network
    word = tf.function(device.device_model(model, WORD))
    sound = clips[:4].reshape(-1, MELS)
    step = STEPS[name]
    scores = [float(word(sound[None, start : start + step])[0, 0]) for start in range(0, len(sound) - step + 1, step)]
    ends = range(-(-FRAMES // step), len(scores), 7)
    whole = expected(model, sound, [(end + 1) * step for end in ends])
    assert np.ptp(whole) > 0.2
    np.testing.assert_allclose([scores[end] for end in ends], whole, atol=1e-4)


def test_the_file_is_what_esphome_demands(network):
    name, _, _, content = network
    assert all_operators(content) <= OPERATORS
    assert 0 < operators(content)["VAR_HANDLE"] <= MOST_STATES
    interpreter = Interpreter(model_content=content)
    [takes], [gives] = interpreter.get_input_details(), interpreter.get_output_details()
    assert (takes["dtype"], takes["shape"].tolist()) == (np.int8, [1, STEPS[name], MELS])
    assert takes["quantization"] == (pytest.approx(26 / 255, rel=1e-6), -128)
    assert (gives["dtype"], gives["shape"].tolist()) == (np.uint8, [1, 1])
    assert gives["quantization"] == (1 / 256, 0)


def test_the_file_answers_as_the_network_does(network):
    name, model, clips, content = network
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    [takes], [gives] = interpreter.get_input_details(), interpreter.get_output_details()
    step, sound = STEPS[name], clips.reshape(-1, MELS)
    scores = []
    for start in range(0, len(sound) - step + 1, step):
        interpreter.set_tensor(takes["index"], device_input(sound[None, start : start + step]))
        interpreter.invoke()
        scores.append(interpreter.get_tensor(gives["index"])[0, 0] / 256)
    ends = range(-(-FRAMES // step), len(scores), 11)
    whole = expected(model, sound, [(end + 1) * step for end in ends])
    assert np.ptp(whole) > 0.3
    assert np.abs(np.array([scores[end] for end in ends]) - whole).mean() < 0.05


def test_a_word_and_one_other_class_need_no_maximum():
    keras.utils.set_random_seed(1)
    model = NETWORKS["matchboxnet"](FRAMES, MELS, 2, 0.125, causal=True)
    assert not [layer for layer in device.device_model(model, 0).layers if isinstance(layer, keras.layers.MaxPooling2D)]


def test_the_same_network_gives_the_same_bytes(network):
    name, model, clips, content = network
    if name == "matchboxnet":
        assert without_names(device.device_file(model, WORD, clips[..., None])) == content
