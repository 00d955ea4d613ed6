"""The networks: a file each, whose `build` gives log-Mel (frames, mel_bins, 1) -> logits; and here a line each."""

from collections.abc import Callable

import keras

from kws.train.networks import bc_resnet, cnn, ds_cnn, matchboxnet, matchboxnet_2d, tc_resnet

# `width` multiplies the channels. One layer is named "normalization": training adapts it. The one whose output
# is shown by the project stage is named "embedding".
NETWORKS: dict[str, Callable[[int, int, int, float], keras.Model]] = {
    "bc_resnet": bc_resnet.build,
    "cnn": cnn.build,
    "ds_cnn": ds_cnn.build,
    "matchboxnet": matchboxnet.build,
    "matchboxnet_2d": matchboxnet_2d.build,
    "tc_resnet": tc_resnet.build,
}
