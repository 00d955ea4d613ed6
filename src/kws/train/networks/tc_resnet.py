"""TC-ResNet8: residual convolutions over time alone, Mel bins as channels (Choi et al., 2019, arXiv:1904.03814)."""

import keras

from kws.train.networks.layers import channels, mels_as_channels, norm, norm_relu

layers = keras.layers
STEM, BLOCKS, KERNEL, DROPOUT = 16, (24, 32, 48), 9, 0.5


def build(frames: int, mel_bins: int, classes: int, width: float) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,).

    The paper's net at width 1: 65,168 trainable parameters for 40 bins and twelve classes.
    """
    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    x = mels_as_channels(inputs)
    x = norm_relu(_conv(x, channels(STEM, width), 3, 1, "stem"), "stem")
    for number, block in enumerate(BLOCKS, start=1):
        x = _block(x, channels(block, width), f"block{number}")
    x = layers.GlobalAveragePooling1D(name="embedding")(x)
    x = layers.Dropout(DROPOUT, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(classes, use_bias=False, name="logits")(x), name="tc_resnet")


def _block(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Two convolutions beside a pointwise one; half as many frames come out."""
    skip = norm_relu(_conv(x, filters, 1, 2, f"{name}_skip"), f"{name}_skip")
    x = norm_relu(_conv(x, filters, KERNEL, 2, f"{name}_conv1"), f"{name}_conv1")
    x = norm(_conv(x, filters, KERNEL, 1, f"{name}_conv2"), f"{name}_conv2_norm")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, skip]))


def _conv(x: keras.KerasTensor, filters: int, kernel: int, stride: int, name: str) -> keras.KerasTensor:
    return layers.Conv1D(filters, kernel, stride, "same", use_bias=False, name=name)(x)
