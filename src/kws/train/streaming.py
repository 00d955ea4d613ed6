"""A causal network that hears step by step: it keeps the newest frames before each layer that needs them.

A valid convolution over time needs no frame but the newest, so each frame is computed once, not anew for every window
(Rybakov et al., 2020, "Streaming keyword spotting on mobile devices", arXiv:2005.06720).
"""

from typing import Any

import keras
import numpy as np

layers = keras.layers
# Layers that do the same to each frame, whatever is around it, or take no part in an answer. Another one is refused: it
# might mix frames.
FRAME_BY_FRAME = (layers.Add, layers.BatchNormalization, layers.Dense, layers.ReLU, layers.ZeroPadding2D)
CROPS = (layers.Cropping1D, layers.Cropping2D)
CONVOLUTIONS = (layers.Conv1D, layers.SeparableConv1D, layers.Conv2D, layers.DepthwiseConv2D)
# A sequence (steps, channels) is (steps, 1, channels) in the stream. LiteRT has no 1-D convolutions; the reshaping that
# stands for them leaves some of them in float32 when the network is converted to 8 bits.
IN_2D = {
    layers.Conv1D: layers.Conv2D,
    layers.SeparableConv1D: layers.SeparableConv2D,
    layers.GlobalAveragePooling1D: layers.GlobalAveragePooling2D,
}


class Ring(keras.Layer):  # type: ignore[misc]
    """The newest frames of a stream: (1, steps, ...) -> (1, length, ...). It keeps those that the next call needs.

    Before the first call they are zeros.

    Args:
        length: how many frames it gives. Where more come in, it gives the newest of them, and keeps none.
    """

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = length

    def build(self, shape: tuple[int, ...]) -> None:
        """The state: (1, length - steps, ...)."""
        batch, steps, *rest = shape
        self.kept = self.length - steps
        if self.kept > 0:
            self.state = self.add_weight((batch, self.kept, *rest), "zeros", trainable=False, name="state")

    def call(self, x: Any) -> Any:
        """The frames kept, then the new ones."""
        if self.kept <= 0:
            return x[:, -self.length :] if self.kept else x
        x = keras.ops.concatenate([self.state, x], axis=1)
        self.state.assign(x[:, -self.kept :])
        return x


def stream_model(model: keras.Model, step_frames: int) -> keras.Model:
    """A network that takes a few frames at a time: log-Mel (1, step_frames, mel_bins, 1) -> logits (1, classes).

    Once it has heard as many frames as a clip has, its answer is that of `model` to the newest clip. Its weights are
    copies; its state is zero.

    Args:
        model: a causal network, log-Mel (frames, mel_bins, 1) -> logits.
        step_frames: a multiple of the network's stride over time.

    Raises:
        ValueError: the step is no such multiple, or a layer is not causal.
        TypeError: a layer may mix frames in a way that is not known here.
    """
    step = keras.Input((step_frames, *model.input_shape[2:]), batch_size=1, name="log_mel")
    return keras.models.clone_model(model, step, clone_function=lambda layer: layer, call_function=_call)


def _call(layer: keras.Layer, x: Any, **_: Any) -> Any:
    """What `layer` makes of a step, or of two in a list."""
    if isinstance(layer, (*CROPS, layers.Dropout)):
        return x  # a step has no frames too many
    if isinstance(layer, layers.Reshape) and layer.target_shape[0] == layer.input.shape[1]:
        return layers.Reshape((x.shape[1], 1, *layer.target_shape[1:]), name=layer.name)(x)
    if isinstance(layer, layers.ZeroPadding2D) and layer.padding[0] != (0, 0):
        raise ValueError(f"layer {layer.name} is not causal: it pads time")
    if isinstance(layer, layers.Normalization):  # as one product and one sum
        scale = 1 / np.maximum(np.sqrt(layer.variance), keras.config.epsilon())
        return layers.Rescaling(scale[0, 0], (-layer.mean * scale)[0, 0], name=layer.name)(x)
    if isinstance(layer, CONVOLUTIONS):
        x = _with_frames_before(layer, x)
    elif isinstance(layer, layers.GlobalAveragePooling1D | layers.GlobalAveragePooling2D):
        x = Ring(layer.input.shape[1], name=f"{layer.name}_ring")(x)
    elif not isinstance(layer, FRAME_BY_FRAME):
        raise TypeError(f"layer {layer.name} may mix frames: a stream of {type(layer).__name__} is not known")
    return _copy(layer, x)


def _with_frames_before(layer: keras.Layer, x: Any) -> Any:
    """The frames from which a convolution makes its answers to a step."""
    span, stride = (layer.kernel_size[0] - 1) * layer.dilation_rate[0] + 1, layer.strides[0]
    if layer.padding != "valid" and span > 1:
        raise ValueError(f"layer {layer.name} is not causal: its padding is {layer.padding}")
    if x.shape[1] % stride:
        raise ValueError(f"layer {layer.name} has stride {stride} and a step of {x.shape[1]} frames; take a multiple")
    return Ring(x.shape[1] - stride + span, name=f"{layer.name}_ring")(x)


def _copy(layer: keras.Layer, x: Any) -> Any:
    """What a layer of the same weights makes of it, (steps, 1, channels) in place of (steps, channels)."""
    config = layer.get_config()
    kind = IN_2D.get(type(layer), type(layer))
    if isinstance(layer, layers.Conv1D | layers.SeparableConv1D):
        config |= {name: (*config[name], 1) for name in ("kernel_size", "strides", "dilation_rate")}
    copy = kind.from_config(config)
    y = copy(x)
    for new, old in zip(copy.weights, layer.weights, strict=True):
        new.assign(keras.ops.reshape(old, new.shape))
    return y
