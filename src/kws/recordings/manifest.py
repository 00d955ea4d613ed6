"""The waveforms of an experiment's clips, as the manifest of the features names them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_clip
from kws.core import paths
from kws.core.files import read_csv
from kws.core.params import SILENCE
from kws.recordings.archive import read_members


@dataclass(frozen=True)
class Recording:
    """A clip as it was recorded: float32 (clip_samples,), full scale = 1; `label` is its class."""

    label: str
    waveform: np.ndarray


def archive_of(source: Mapping[str, Any], split: str) -> Path:
    """Which archive holds a split's clips.

    Args:
        source: what the download stage wrote into source.json.
        split: train, validation, test or unheard.
    """
    if source["test"] and split not in ("train", "validation"):
        return paths.TEST_RAW / source["test"]["archive"]
    return paths.RAW / source["archive"]


def read_recordings(manifest: Path, split: str, archive: Path, spec: Mapping[str, Any]) -> list[Recording]:
    """The usable clips of a split, without those of silence, cut or padded to the length of a clip.

    Args:
        manifest: manifest.csv of the features.
        split: train, validation, test or unheard.
        archive: the archive that holds them.
        spec: the feature spec.
    """
    rows = [row for row in read_csv(manifest) if row["split"] == split and row["status"] == "ok"]
    labels = {row["name"]: row["class"] for row in rows if row["class"] != SILENCE}
    return [
        Recording(labels[name], cut_or_pad(decode_clip(data or b"", spec["sample_rate"]), spec["clip_samples"]))
        for name, data in read_members(archive, labels)
    ]
