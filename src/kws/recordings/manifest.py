"""The waveforms of an experiment's clips, as the manifest of the features names them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_recording
from kws.audio.frontend import FrontEnd
from kws.core.files import csv_rows
from kws.core.naming import SILENCE
from kws.recordings.archive import read_members
from kws.recordings.source import DataSource


@dataclass(frozen=True)
class Recording:
    """A clip as it was recorded.

    Attributes:
        name: of the clip.
        speaker: who speaks.
        word: what is said, as the data set names it.
        label: its class.
        waveform: float32 (clip_samples,), full scale = 1.
    """

    name: str
    speaker: str
    word: str
    label: str
    waveform: np.ndarray


def read_waveforms(
    rows: Iterable[Mapping[str, str]], source: DataSource, sample_rate: int, clip_seconds: float
) -> Iterator[tuple[Mapping[str, str], np.ndarray]]:
    """Row and waveform, float32 (samples,), of clips, recording by recording in the order of their archives.

    Args:
        rows: of the manifest; those of clips that featurize made give nothing.
        source: says where the recordings are.
        sample_rate: in Hz, of the waveforms.
        clip_seconds: length of each waveform.
    """
    length = round(clip_seconds * sample_rate)
    for row, sound, start in read_sounds(rows, source, sample_rate):
        yield row, cut_or_pad(sound, length, start)


def read_sounds(
    rows: Iterable[Mapping[str, str]], source: DataSource, sample_rate: int
) -> Iterator[tuple[Mapping[str, str], np.ndarray, int]]:
    """As `read_waveforms`: row, the recording that the clip is in, float32 (samples,), and where it starts there."""
    archives: dict[Path, dict[str, list[Mapping[str, str]]]] = {}
    for row in rows:
        archive = source.archive_of(row["split"], row["recording"])
        archives.setdefault(archive, {}).setdefault(row["recording"], []).append(row)
    for archive, of_recording in archives.items():
        for name, data in read_members(archive, of_recording):
            sound = decode_recording(data or b"", sample_rate, may_be_silent=True)
            for row in of_recording[name]:
                yield row, sound.samples, round(float(row["start"]) * sample_rate)


def usable_rows(manifest: Path, split: str) -> Iterator[dict[str, str]]:
    """The rows of the usable clips of a split, one at a time: train, validation, test, or one of `UNHEARD`."""
    return (row for row in csv_rows(manifest) if row["split"] == split and row["status"] == "ok")


def spoken_rows(manifest: Path, split: str) -> Iterator[dict[str, str]]:
    """The usable clips of a split in which somebody speaks: all but those of silence."""
    return (row for row in usable_rows(manifest, split) if row["class"] != SILENCE)


def read_recordings(rows: Iterable[Mapping[str, str]], source: DataSource, front_end: FrontEnd) -> Iterator[Recording]:
    """Clips, cut or padded to the length of a clip, archive by archive; one recording at a time is in memory.

    Args:
        rows: of the manifest, of the clips wanted; clips that featurize made are in no archive, and left out.
        source: says where they are.
        front_end: says how long a clip is.
    """
    seconds = front_end.clip_samples / front_end.sample_rate
    for row, waveform in read_waveforms(rows, source, front_end.sample_rate, seconds):
        yield Recording(row["name"], row["speaker"], row["word"], row["class"], waveform)
