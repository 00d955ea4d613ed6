"""MatchboxNet behind two convolutions over time and frequency, which see a formant wherever a voice has it."""

import keras

from kws.train.networks import matchboxnet
from kws.train.networks.layers import channels, norm_relu, normalised

layers = keras.layers
STEM = (12, 24)  # channels, each convolution halving the Mel axis


def build(frames: int, mel_bins: int, classes: int, width: float) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,).

    MatchboxNet takes each Mel bin for a channel, so that it has to learn a word anew for each height of voice. The
    convolutions in front are ours, in the manner of the ones in front of speech recognisers' encoders (Deep Speech 2,
    arXiv:1512.02595).
    """
    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    x = normalised(inputs)
    for number, filters in enumerate(STEM, start=1):
        name = f"stem{number}"
        x = layers.Conv2D(
            channels(filters, width), 3, strides=(1, 2), padding="same", use_bias=False, name=f"{name}_conv"
        )(x)
        x = norm_relu(x, name)
    x = layers.Reshape((frames, x.shape[2] * x.shape[3]), name="bands_as_channels")(x)
    return keras.Model(inputs, matchboxnet.body(x, frames, classes, width), name="matchboxnet_2d")
