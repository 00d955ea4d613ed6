"""MatchboxNet-3x1x64: separable convolutions over time (Majumdar and Ginsburg, 2020, arXiv:2004.08531)."""

import keras

from kws.train.networks.layers import (
    PAPER_FRAMES,
    channels,
    fitting_kernel,
    for_valid,
    mels_as_channels,
    newest,
    norm,
    norm_relu,
)

layers = keras.layers
BLOCK_KERNELS = (13, 15, 17)  # frames of 10 ms, as all kernels here
BLOCK, OUTER = 64, 128  # channels


def build(frames: int, mel_bins: int, classes: int, width: float, *, causal: bool = False) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,).

    The paper's net at width 1: 71,556 trainable parameters for 40 bins and twelve classes. With half as many frames,
    kernels are half as long, so that they span the same time: 70,114 for ten classes.
    """
    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    x = body(mels_as_channels(inputs), frames, classes, width, causal=causal)
    return keras.Model(inputs, x, name="matchboxnet")


def body(x: keras.KerasTensor, frames: int, classes: int, width: float, *, causal: bool) -> keras.KerasTensor:
    """The net behind its input: (frames, channels) -> logits (classes,); a clip has so many `frames`.

    Causal, the long kernel has no dilation: it would span more frames than the convolutions before it leave.
    """
    block, outer = channels(BLOCK, width), channels(OUTER, width)

    def separable(x: keras.KerasTensor, filters: int, paper: int, dilation: int, name: str) -> keras.KerasTensor:
        kernel = _kernel(paper, frames, causal=causal)
        return layers.SeparableConv1D(
            filters,
            kernel,
            padding="valid" if causal else "same",
            dilation_rate=dilation,
            use_bias=False,
            name=f"{name}_separable",
        )(for_valid(x, kernel, 1, name) if causal else x)

    x = norm_relu(separable(x, outer, 11, 1, "first"), "first")
    for number, paper in enumerate(BLOCK_KERNELS, start=1):
        name = f"block{number}"
        beside = newest(x, x.shape[1] - _kernel(paper, frames, causal=True) + 1, f"{name}_newest") if causal else x
        skip = norm(layers.Conv1D(block, 1, use_bias=False, name=f"{name}_skip")(beside), f"{name}_skip_norm")
        x = norm(separable(x, block, paper, 1, name), f"{name}_norm")
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, skip]))
    x = norm_relu(separable(x, outer, 29, 1 if causal else 2, "dilated"), "dilated")
    x = norm_relu(layers.Conv1D(outer, 1, use_bias=False, name="last")(x), "last")
    x = layers.GlobalAveragePooling1D(name="embedding")(x)
    return layers.Dense(classes, name="logits")(x)


def _kernel(paper: int, frames: int, *, causal: bool) -> int:
    """The paper's kernel, in frames of which a clip has `frames`: the odd number that is not shorter.

    Causal, it is the nearest odd number, since the kernels together must span less than a clip.
    """
    if causal:
        return fitting_kernel(paper, frames)
    length = paper if frames > PAPER_FRAMES * 3 / 4 else -(-paper // 2)
    return length + 1 - length % 2
