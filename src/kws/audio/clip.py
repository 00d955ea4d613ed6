"""Clips of one length, made in the same way in the pipeline and on devices."""

import numpy as np


def cut_or_pad(samples: np.ndarray, length: int) -> np.ndarray:
    """The first `length` samples; if there are fewer, zeros follow."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))
