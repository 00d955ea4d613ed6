"""The networks: a file each, whose `build` gives log-Mel (frames, mel_bins, 1) -> logits."""

from collections.abc import Callable
from importlib import import_module
from typing import get_args

import keras

from kws.core.params import Model

# By name: frames, mel_bins, classes, width, causal=... -> network. `width` multiplies the channels. Those of `CAUSAL`
# have valid convolutions over time with causal=True, so that train/streaming.py can make them hear step by step. One
# layer is named "normalization": training adapts it. The layer whose output stage project shows is named "embedding".
NETWORKS: dict[str, Callable[..., keras.Model]] = {
    name: import_module(f"kws.train.networks.{name}").build for name in get_args(Model)
}
