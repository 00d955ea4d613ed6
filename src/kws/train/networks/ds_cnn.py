"""DS-CNN: depthwise separable 2-D convolutions (Zhang et al., 2017, "Hello Edge", arXiv:1711.07128)."""

import keras

from kws.train.networks.layers import channels, norm_relu, normalised

layers = keras.layers
FILTERS, BLOCKS = 64, 4


def build(frames: int, mel_bins: int, classes: int, width: float) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,).

    The paper's DS-CNN-S at width 1: 23,756 trainable parameters for twelve classes, whatever the front end.
    """
    filters = channels(FILTERS, width)
    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    x = layers.Conv2D(filters, (10, 4), 2, "same", name="stem")(normalised(inputs))
    x = layers.Dropout(0.2, name="dropout_1")(norm_relu(x, "stem"))
    for number in range(1, BLOCKS + 1):
        name = f"block{number}"
        x = norm_relu(layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depth")(x), f"{name}_depth")
        x = norm_relu(layers.Conv2D(filters, 1, name=f"{name}_point")(x), f"{name}_point")
    x = layers.Dropout(0.4, name="dropout_2")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="ds_cnn")
