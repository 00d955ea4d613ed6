"""The cached features of a split, read without TensorFlow; in the order of the records, one clip at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.core.errors import UserError
from kws.records.format import parse, read_records
from kws.records.spec import FeatureSpec
from kws.records.write import shard_of


@dataclass(frozen=True)
class CachedClip:
    """A clip as featurize wrote it.

    Attributes:
        name: in its archive.
        speaker: who speaks.
        label: index of its class.
        log_mel: float32 (frames, mel_bins).
    """

    name: str
    speaker: str
    label: int
    log_mel: np.ndarray


def shards_of(folder: Path, split: str) -> list[Path]:
    """The files of one split, in order.

    Raises:
        UserError: there is none.
    """
    shards = sorted(folder.glob(f"{split}-*.tfrecord"))
    if not shards:
        raise UserError(f"{folder} holds no {split} clips: run dvc repro, which makes them")
    return shards


def shard_number(path: Path) -> int:
    """Which of the shards of its split it is, from 0."""
    return int(path.stem.rpartition("-of-")[0].rpartition("-")[2])


def cached_clips(folder: Path, split: str, spec: FeatureSpec) -> Iterator[CachedClip]:
    """The clips of one split, read one at a time.

    Args:
        folder: of the features.
        split: train, validation, test, or one of `UNHEARD`.
        spec: the feature spec.

    Raises:
        UserError: a file is damaged, or clips are missing.
    """
    clips = 0
    for shard in shards_of(folder, split):
        for clip in _clips_in(shard, spec.front_end):
            yield clip
            clips += 1
    if clips != spec.clips[split]:
        raise UserError(f"{folder} holds {clips} {split} clips instead of {spec.clips[split]}: run dvc repro")


def cached_clip(folder: Path, split: str, name: str, recording: str, front_end: FrontEnd) -> CachedClip:
    """One clip; of the shards only the one that has it is read, as far as the clip.

    Args:
        folder: of the features.
        split: of the clip.
        name: of the clip.
        recording: that it is cut out of.
        front_end: computed the features.
    """
    shards = shards_of(folder, split)
    return next(clip for clip in _clips_in(shards[shard_of(recording, len(shards))], front_end) if clip.name == name)


def _clips_in(shard: Path, front_end: FrontEnd) -> Iterator[CachedClip]:
    sound, kind = ("features", "<u2") if front_end.kind == "micro" else ("mel_power", "<f4")
    for example in read_records(shard):
        features: dict[str, Any] = parse(example)
        cached = np.frombuffer(features[sound], kind).reshape(-1, front_end.mel_bins)
        log_mel = front_end.cached_log_mel(cached)
        yield CachedClip(features["name"].decode(), features["speaker"].decode(), features["label"], log_mel)
