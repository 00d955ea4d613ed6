"""What is done to samples wherever clips are made: in the pipeline, and on devices."""

import numpy as np


def cut_or_pad(samples: np.ndarray, length: int) -> np.ndarray:
    """The first `length` samples, followed by zeros where there are fewer."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))
