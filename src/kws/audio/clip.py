"""Clips of one length, made in the same way in the pipeline and on devices."""

import numpy as np

STEP_FRAMES = 4  # a network that hears step by step takes a multiple of so many frames: some halve time twice


def cut_or_pad(samples: np.ndarray, length: int, start: int = 0) -> np.ndarray:
    """`length` samples from `start` on; if there are fewer, zeros follow."""
    clip = samples[start : start + length]
    return np.pad(clip, (0, length - len(clip)))
