"""From recordings to Mel power, on all cores, in the order of the recordings."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from kws.audio.decode import UnusableClipError, decode_clip
from kws.audio.frontend import BLAS_THREADS, FrontEnd
from kws.core.parallel import map_in_order
from kws.core.params import SILENCE
from kws.featurize.splits import Chosen
from kws.recordings.archive import MAX_MEMBER_BYTES, read_members
from kws.recordings.background import NOBODY, silence
from kws.recordings.source import DataSource

CLIPS_A_TASK = 64


@dataclass(frozen=True)
class Features:
    """The features of one recording, or the reason why it has none.

    Attributes:
        name: its name in the archive.
        samples: its length at the front end's sample rate, before it was cut or padded.
        mel_power: float32 (frames + 2 margin, mel_bins), or None if the recording is unusable.
        reason: of that.
    """

    name: str
    samples: int
    mel_power: np.ndarray | None
    reason: str = ""


def compute_clip(name: str, data: bytes | None, front_end: FrontEnd) -> Features:
    """Decodes one recording, cuts or pads it to a clip's length, computes its Mel power with margins.

    Args:
        name: its name in the archive.
        data: the audio file; None if it was too large to read.
        front_end: computes the features.
    """
    if data is None:
        return Features(name, 0, None, f"larger than {MAX_MEMBER_BYTES:,} bytes")
    try:
        waveform = decode_clip(data, front_end.sample_rate)
    except UnusableClipError as problem:
        return Features(name, 0, None, str(problem))
    return Features(name, len(waveform), front_end.with_margins(waveform))


def compute_chosen(
    chosen: Iterable[Chosen], source: DataSource, noises: Mapping[str, np.ndarray], front_end: FrontEnd
) -> Iterator[tuple[Chosen, Features]]:
    """The features of all clips of an experiment, archive by archive.

    Args:
        chosen: the clips; those of silence are made here.
        source: says where their archives are.
        noises: the background recordings, by name.
        front_end: computes the features.
    """
    silent: dict[str, Chosen] = {}
    archives: dict[Path, dict[str, Chosen]] = defaultdict(dict)
    for choice in chosen:
        made = choice.label == SILENCE and choice.clip.speaker == NOBODY  # a speaker may have that name
        members = silent if made else archives[source.archive_of(choice.split)]
        members[choice.clip.name] = choice
    for archive, members in archives.items():
        for features in compute_all(read_members(archive, members), front_end):
            yield members[features.name], features
    with threadpool_limits(BLAS_THREADS):
        for name, choice in silent.items():
            waveform = silence(name, list(noises.values()), choice.split, front_end.clip_samples)
            yield choice, Features(name, len(waveform), front_end.with_margins(waveform))


def compute_all(recordings: Iterable[tuple[str, bytes | None]], front_end: FrontEnd) -> Iterator[Features]:
    """`compute_clip` for each (name, data), on all cores; only a few tasks are in memory at a time.

    Threads are enough, since decoding, FFT, matrix products and reading the archive release Python's lock.
    """
    cores = os.cpu_count() or 1
    with threadpool_limits(BLAS_THREADS):
        for computed in map_in_order(lambda task: _compute_task(task, front_end), recordings, CLIPS_A_TASK, cores):
            yield from computed


def _compute_task(task: list[tuple[str, bytes | None]], front_end: FrontEnd) -> list[Features]:
    return [compute_clip(name, data, front_end) for name, data in task]
