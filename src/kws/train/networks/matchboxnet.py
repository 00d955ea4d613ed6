"""MatchboxNet-3x1x64: separable convolutions over time (Majumdar and Ginsburg, 2020, arXiv:2004.08531)."""

import keras

from kws.train.networks.layers import channels, mels_as_channels, norm, norm_relu

layers = keras.layers
BLOCK_KERNELS = (13, 15, 17)  # frames of 10 ms, as all kernels here
BLOCK, OUTER = 64, 128  # channels
PAPER_FRAMES = 98  # of one second


def build(frames: int, mel_bins: int, classes: int, width: float) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,).

    The paper's net at width 1: 71,556 trainable parameters for 40 bins and twelve classes. With half as many frames,
    kernels are half as long, so that they span the same time: 70,114 for ten classes.
    """
    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    return keras.Model(inputs, body(mels_as_channels(inputs), frames, classes, width), name="matchboxnet")


def body(x: keras.KerasTensor, frames: int, classes: int, width: float) -> keras.KerasTensor:
    """The net behind its input: (frames of a clip, channels) -> logits (classes,)."""
    block, outer = channels(BLOCK, width), channels(OUTER, width)
    x = norm_relu(_separable(x, outer, _kernel(11, frames), 1, "first"), "first")
    for number, kernel in enumerate(BLOCK_KERNELS, start=1):
        name = f"block{number}"
        skip = norm(layers.Conv1D(block, 1, use_bias=False, name=f"{name}_skip")(x), f"{name}_skip_norm")
        x = norm(_separable(x, block, _kernel(kernel, frames), 1, name), f"{name}_norm")
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, skip]))
    x = norm_relu(_separable(x, outer, _kernel(29, frames), 2, "dilated"), "dilated")
    x = norm_relu(layers.Conv1D(outer, 1, use_bias=False, name="last")(x), "last")
    x = layers.GlobalAveragePooling1D(name="embedding")(x)
    return layers.Dense(classes, name="logits")(x)


def _kernel(paper: int, frames: int) -> int:
    """The paper's kernel, in frames of which a clip has `frames`: the odd number that is not shorter."""
    length = paper if frames > PAPER_FRAMES * 3 / 4 else -(-paper // 2)
    return length + 1 - length % 2


def _separable(x: keras.KerasTensor, filters: int, kernel: int, dilation: int, name: str) -> keras.KerasTensor:
    return layers.SeparableConv1D(
        filters, kernel, padding="same", dilation_rate=dilation, use_bias=False, name=f"{name}_separable"
    )(x)
