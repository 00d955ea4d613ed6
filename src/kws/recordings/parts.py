"""Background recordings are split in time: training has the first 80 %, validation the next 10 %, the test the rest."""

import numpy as np

from kws.recordings.clips import SPLITS
from kws.recordings.people import PERCENT


def part_of(recording: np.ndarray, split: str, samples: int, *, whole: bool = False) -> np.ndarray:
    """The part of a background recording that belongs to a split; repeated if it is shorter than `samples`.

    Args:
        recording: float32 (samples,).
        split: train, validation or test.
        samples: of a clip.
        whole: whether the recording is this split's alone.
    """
    ends = np.cumsum([0, *(PERCENT[name] for name in SPLITS)]) * len(recording) // 100
    number = SPLITS.index(split)
    part = recording if whole else recording[ends[number] : ends[number + 1]]
    return part if len(part) >= samples else np.resize(part, samples)
