import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import lfilter

from kws.core.params import CAUSAL
from kws.train.networks import NETWORKS
from kws.train.streaming import Ring, stream_model

FRAMES, MEL_BINS, CLASSES = 49, 40, 3


def trained(name: str, frames: int, width: float = 0.5) -> keras.Model:
    """A causal network with other weights than at first, and with statistics of what it hears, as after training."""
    keras.utils.set_random_seed(1)
    network = NETWORKS[name](frames, MEL_BINS, CLASSES, width, causal=True)
    clips = np.concatenate(np.split(sound(16 * frames), 16, axis=1))
    network.get_layer("normalization").adapt(clips)
    rng = np.random.default_rng(0)
    for weight in network.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.1, weight.shape))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # so that one call gives all statistics
    network(clips, training=True)
    return network


def sound(frames: int) -> np.ndarray:
    """Log-Mel that is never the same for long: (1, frames, mel_bins, 1)."""
    noise = np.random.default_rng(2).normal(0, 1, (1, frames, MEL_BINS, 1))
    return lfilter([1], [1, -0.97], noise, axis=1).astype(np.float32)


def heard(stream: keras.Model, log_mel: np.ndarray) -> np.ndarray:
    """The answers of a stream, one after each step: (steps, classes)."""
    size = stream.input_shape[1]
    assert log_mel.shape[1] % size == 0
    answer = tf.function(lambda step: stream(step, training=False))  # traced once: there are many steps
    return np.concatenate([answer(step) for step in np.split(log_mel, log_mel.shape[1] // size, axis=1)])


@pytest.mark.parametrize(("frames", "width"), [(49, 1.25), (98, 0.5)])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_stream_answers_as_the_network_does_to_the_newest_clip(name, frames, width):
    network = trained(name, frames, width)
    log_mel = sound(112)
    answers = heard(stream_model(network, 4), log_mel)
    ends = range(-(-frames // 4) * 4, 113, 4)  # of the steps after which a whole clip was heard
    clips = np.concatenate([log_mel[:, end - frames : end] for end in ends])
    expected = network(clips, training=False).numpy()
    assert np.ptp(expected, axis=0).max() > 0.05  # a step more or less would show
    np.testing.assert_allclose(answers[-len(expected) :], expected, atol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_frames_of_a_clip_alone_are_enough(name):
    network = trained(name, 48)
    clip = sound(48)
    np.testing.assert_allclose(heard(stream_model(network, 4), clip)[-1:], network(clip, training=False), atol=1e-4)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_step_has_as_many_frames_as_wanted_if_the_strides_divide_it(name, step):
    network = trained(name, 49)
    if step % {"ds_cnn": 2, "tc_resnet": 4}.get(name, 1):
        with pytest.raises(ValueError, match=r"^layer \w+ has stride 2 and a step of [13] frames; take a multiple$"):
            stream_model(network, step)
    else:
        log_mel = sound(120 // step * step)
        expected = network(log_mel[:, -49:], training=False)
        np.testing.assert_allclose(heard(stream_model(network, step), log_mel)[-1:], expected, atol=1e-4)


def test_a_stream_leaves_the_network_as_it_is():
    network = trained("tc_resnet", 49)
    before = [weight.numpy() for weight in network.weights]
    config = network.get_config()
    heard(stream_model(network, 4), sound(8))
    assert network.get_config() == config
    for weight, old in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_ring_gives_the_frames_before_and_the_new_ones():
    ring = Ring(3)
    steps = np.arange(1.0, 7).reshape(3, 1, 2, 1)
    given = [ring(step).numpy().ravel().tolist() for step in steps]
    assert given == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert [weight.shape for weight in ring.weights] == [(1, 1, 1)]


@pytest.mark.parametrize(("length", "given"), [(2, [5, 6]), (1, [6])])
def test_a_ring_keeps_nothing_where_a_step_has_enough_frames(length, given):
    ring = Ring(length)
    assert ring(np.array([[[5.0], [6.0]]])).numpy().ravel().tolist() == given
    assert not ring.weights


def test_a_network_that_needs_frames_to_come_is_refused():
    with pytest.raises(ValueError, match=r"^layer stem is not causal: its padding is same$"):
        stream_model(NETWORKS["ds_cnn"](49, MEL_BINS, CLASSES, 0.5), 4)


def test_padding_of_bands_is_known_and_padding_of_time_is_refused():
    log_mel = keras.Input((40, MEL_BINS, 1))
    of_bands = keras.layers.ZeroPadding2D((0, 2))
    assert stream_model(keras.Model(log_mel, of_bands(log_mel)), 4).output_shape == (1, 4, MEL_BINS + 4, 1)
    of_time = keras.layers.ZeroPadding2D(((2, 0), (0, 0)), name="pad")
    with pytest.raises(ValueError, match=r"^layer pad is not causal: it pads time$"):
        stream_model(keras.Model(log_mel, of_time(log_mel)), 4)


@pytest.mark.parametrize(
    "layer", [keras.layers.MaxPooling2D(name="odd"), keras.layers.Reshape((20, 80, 1), name="odd")]
)
def test_a_layer_that_may_mix_frames_is_refused(layer):
    log_mel = keras.Input((40, MEL_BINS, 1))
    with pytest.raises(TypeError, match=r"^layer odd may mix frames: a stream of (MaxPooling2D|Reshape) is not known$"):
        stream_model(keras.Model(log_mel, layer(log_mel)), 4)
