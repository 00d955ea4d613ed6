"""DS-CNN: depthwise separable 2-D convolutions (Zhang et al., 2017, "Hello Edge", arXiv:1711.07128)."""

import keras

from kws.train.networks.layers import channels, for_valid, norm_relu, normalised, padded_bands

layers = keras.layers
FILTERS, BLOCKS = 64, 4


def build(frames: int, mel_bins: int, classes: int, width: float, *, causal: bool = False) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,).

    The paper's DS-CNN-S at width 1: 23,756 trainable parameters for twelve classes, whatever the front end.
    """
    filters, padding = channels(FILTERS, width), "valid" if causal else "same"

    def padded(x: keras.KerasTensor, kernel: tuple[int, int], stride: int, name: str) -> keras.KerasTensor:
        return padded_bands(for_valid(x, kernel[0], stride, name), kernel[1], stride, name) if causal else x

    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    x = padded(normalised(inputs), (10, 4), 2, "stem")
    x = layers.Conv2D(filters, (10, 4), 2, padding, name="stem")(x)
    x = layers.Dropout(0.2, name="dropout_1")(norm_relu(x, "stem"))
    for number in range(1, BLOCKS + 1):
        name = f"block{number}"
        x = layers.DepthwiseConv2D(3, padding=padding, name=f"{name}_depth")(padded(x, (3, 3), 1, name))
        x = norm_relu(x, f"{name}_depth")
        x = norm_relu(layers.Conv2D(filters, 1, name=f"{name}_point")(x), f"{name}_point")
    x = layers.Dropout(0.4, name="dropout_2")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="ds_cnn")
