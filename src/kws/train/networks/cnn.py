"""The network of TensorFlow's tutorial "Simple audio recognition"."""

import keras

from kws.train.networks.layers import channels

layers = keras.layers


def build(frames: int, mel_bins: int, classes: int, width: float, *, causal: bool = False) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,), by 2-D convolutions on the spectrogram as a picture.

    1,625,869 parameters for ten words, whatever the front end: the spectrogram is resized to 32 x 32 first.
    """
    assert not causal, "it resizes the whole clip"
    return keras.Sequential(
        [
            keras.Input((frames, mel_bins, 1), name="log_mel"),
            layers.Resizing(32, 32, name="resizing"),
            layers.Normalization(name="normalization"),  # adapted to the training features before the first epoch
            layers.Conv2D(channels(32, width), 3, activation="relu", name="conv_1"),
            layers.Conv2D(channels(64, width), 3, activation="relu", name="conv_2"),
            layers.MaxPooling2D(name="pool"),
            layers.Dropout(0.25, name="dropout_1"),
            layers.Flatten(name="flatten"),
            layers.Dense(channels(128, width), activation="relu", name="embedding"),
            layers.Dropout(0.5, name="dropout_2"),
            layers.Dense(classes, name="logits"),
        ],
        name="cnn",
    )
