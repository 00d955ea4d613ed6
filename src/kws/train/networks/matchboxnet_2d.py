"""MatchboxNet behind two convolutions over time and frequency, which see a formant wherever a voice has it."""

import keras

from kws.train.networks import matchboxnet
from kws.train.networks.layers import channels, for_valid, norm_relu, normalised, padded_bands

layers = keras.layers
STEM, KERNEL = (12, 24), 3  # channels, each convolution halving the Mel axis


def build(frames: int, mel_bins: int, classes: int, width: float, *, causal: bool = False) -> keras.Model:
    """Log-Mel (frames, mel_bins, 1) -> logits (classes,).

    MatchboxNet takes each Mel bin for a channel, so that it has to learn a word anew for each height of voice. The
    convolutions in front are ours, in the manner of the ones in front of speech recognisers' encoders (Deep Speech 2,
    arXiv:1512.02595).
    """
    inputs = keras.Input((frames, mel_bins, 1), name="log_mel")
    x = normalised(inputs)
    for number, filters in enumerate(STEM, start=1):
        name = f"stem{number}"
        x = padded_bands(for_valid(x, KERNEL, 1, name), KERNEL, 2, name) if causal else x
        x = layers.Conv2D(
            channels(filters, width),
            KERNEL,
            strides=(1, 2),
            padding="valid" if causal else "same",
            use_bias=False,
            name=f"{name}_conv",
        )(x)
        x = norm_relu(x, name)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name="bands_as_channels")(x)
    return keras.Model(inputs, matchboxnet.body(x, frames, classes, width, causal=causal), name="matchboxnet_2d")
