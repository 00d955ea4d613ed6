"""What Keras makes of the test clips: the reference that exported models are held against."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from kws.records.clips import cached_clips
from kws.records.spec import FeatureSpec

BATCH = 256  # clips; memory, not results, depends on it


@dataclass(frozen=True)
class KerasAnswers:
    """Names of the test clips, their right classes as indices, int64 (clips,), and float32 (clips, classes)."""

    names: list[str]
    labels: np.ndarray
    probabilities: np.ndarray


def keras_answers(
    answer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], features: Path, spec: FeatureSpec
) -> KerasAnswers:
    """Asks the trained network about the cached features of every test clip, in the order of the records.

    Args:
        answer: what `kws.train.models.embedding_and_probabilities` makes of the network.
        features: folder of the TFRecords.
        spec: the feature spec.
    """
    clips = cached_clips(features, "test", spec)
    names: list[str] = []
    labels: list[int] = []
    probabilities = []
    while batch := list(islice(clips, BATCH)):
        names += [clip.name for clip in batch]
        labels += [clip.label for clip in batch]
        probabilities.append(answer(np.stack([clip.log_mel for clip in batch])[..., None])[1])
    return KerasAnswers(names, np.array(labels), np.concatenate(probabilities))
