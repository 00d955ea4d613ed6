"""The waveforms of an experiment's clips, as the manifest of the features names them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_clip
from kws.audio.frontend import FrontEnd
from kws.core.files import read_csv
from kws.core.params import SILENCE
from kws.recordings.archive import read_members


@dataclass(frozen=True)
class Recording:
    """A clip as it was recorded: float32 (clip_samples,), full scale = 1; `label` is its class."""

    label: str
    waveform: np.ndarray


def read_recordings(manifest: Path, split: str, archive: Path, front_end: FrontEnd) -> list[Recording]:
    """The usable clips of a split, without those of silence, cut or padded to the length of a clip.

    Args:
        manifest: manifest.csv of the features.
        split: train, validation, test or unheard.
        archive: the archive that holds them.
        front_end: says how long a clip is, at which sample rate.
    """
    rows = [row for row in read_csv(manifest) if row["split"] == split and row["status"] == "ok"]
    labels = {row["name"]: row["class"] for row in rows if row["class"] != SILENCE}
    return [
        Recording(labels[name], cut_or_pad(decode_clip(data or b"", front_end.sample_rate), front_end.clip_samples))
        for name, data in read_members(archive, labels)
    ]
