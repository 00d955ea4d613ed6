"""From recordings to Mel power, on all cores, in the order of the recordings."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from kws.audio import micro
from kws.audio.clip import cut_or_pad
from kws.audio.cut import Cut, clip_starts, touches_edge
from kws.audio.decode import decode_recording
from kws.audio.frontend import BLAS_THREADS, FrontEnd
from kws.audio.mono import UnusableClipError
from kws.core.naming import SILENCE
from kws.core.parallel import map_in_order
from kws.core.tables import temporary_database
from kws.featurize.chosen import COLUMNS, Chosen
from kws.recordings.archive import MAX_MEMBER_BYTES, read_members
from kws.recordings.background import Background, is_nobody, silence
from kws.recordings.source import DataSource

RECORDINGS_A_TASK = 64
MADE = -1  # the number of the archive, and of its part, that silent clips are in: none
NO_WORD = "no word stands out of its noise"
AT_EDGE = "at the edge: the word is cut off, or starts or ends with the clip"


@dataclass(frozen=True)
class Features:
    """The features of one clip, or the reason why a recording has none.

    Attributes:
        recording: its name in the archive.
        name: of the clip: the recording's, with a number behind it from the second clip on.
        start: of the clip in the recording, in seconds.
        samples: length of the recording at the front end's sample rate.
        mel_power: as `FrontEnd.with_margins` gives it, or None if the recording is unusable.
        exact: of front end `micro`, its features as devices have them, uint16 (frames, mel_bins); else None.
        reason: of that.
        remarks: what was mended, and what is doubtful.
    """

    recording: str
    name: str
    start: float
    samples: int
    mel_power: np.ndarray | None
    reason: str = ""
    remarks: tuple[str, ...] = ()
    exact: np.ndarray | None = None


def compute_recording(choice: Chosen, data: bytes | None, front_end: FrontEnd, cut: Cut) -> list[Features]:
    """Decodes one recording, cuts it into clips, computes their Mel power with margins.

    Args:
        choice: the recording, and the class it belongs to. One of silence is taken from its start, and may be zeros.
        data: the audio file; None if it was too large to read.
        front_end: computes the features.
        cut: how a recording becomes clips.
    """
    name, silent = choice.clip.name, choice.label == SILENCE
    if data is None:
        return [Features(name, name, 0.0, 0, None, f"larger than {MAX_MEMBER_BYTES:,} bytes")]
    try:
        sound = decode_recording(data, front_end.sample_rate, may_be_silent=silent)
    except UnusableClipError as problem:
        return [Features(name, name, 0.0, 0, None, str(problem))]
    samples = len(sound.samples)
    cuts = clip_starts(sound.samples, front_end.sample_rate, front_end.clip_samples, "start" if silent else cut)
    if not cuts.starts:
        return [Features(name, name, 0.0, samples, None, NO_WORD)]
    computed = []
    for number, start in enumerate(cuts.starts, 1):
        first = round(start * front_end.sample_rate)
        mel_power = front_end.with_margins(sound.samples, first)
        frames = mel_power[front_end.clip_frames].sum(axis=1)
        at_edge = not silent and touches_edge(10 * np.log10(frames + front_end.log_offset))
        remarks = sound.remarks + (cuts.remarks if number == 1 else ()) + ((AT_EDGE,) if at_edge else ())
        clip_name = name if number == 1 else f"{name}#{number}"
        exact = _exact(sound.samples, first, front_end)
        computed.append(Features(name, clip_name, start, samples, mel_power, remarks=remarks, exact=exact))
    return computed


def compute_chosen(
    chosen: Iterable[Chosen],
    source: DataSource,
    noises: Background,
    front_end: FrontEnd,
    cut_of: Mapping[Path, Cut],
) -> Iterator[tuple[Chosen, list[Features]]]:
    """The features of all recordings of an experiment, archive by archive.

    Args:
        chosen: the recordings; those of silence are made here.
        source: says where their archives are.
        noises: the background recordings.
        front_end: computes the features.
        cut_of: how the recordings of an archive become clips.
    """
    members = _Members(chosen, source)
    cores = os.cpu_count() or 1
    with threadpool_limits(BLAS_THREADS):
        for number, archive in enumerate(members.archives):
            compute = partial(_compute_task, front_end=front_end, cut=cut_of[archive])
            wanted = members.of(number)
            recordings = ((wanted[name], data) for name, data in read_members(archive, wanted))
            for task in map_in_order(compute, recordings, RECORDINGS_A_TASK, cores):
                yield from task
        for choice in members.silent():
            yield choice, [compute_silence(choice, noises, front_end)]


class _Members:
    """The chosen recordings of each archive by their names, in a temporary file: there may be millions.

    Attributes:
        archives: in the order of their first recordings.
    """

    def __init__(self, chosen: Iterable[Chosen], source: DataSource) -> None:
        self._database = temporary_database(
            f"CREATE TABLE members (archive INTEGER, {COLUMNS}, place INTEGER, PRIMARY KEY (archive, name))"
            "WITHOUT ROWID;"
        )
        numbers: dict[Path, int] = {}

        def rows() -> Iterator[tuple[int | str, ...]]:
            for place, choice in enumerate(chosen):
                number = MADE
                if not is_nobody(choice.clip.speaker):
                    archive = source.archive_of(choice.split, choice.clip.name)
                    number = numbers.setdefault(archive, len(numbers))
                yield (number, *choice.row(), place)

        self._database.executemany(f"INSERT OR REPLACE INTO members VALUES (?{', ?' * 9})", rows())
        self.archives = list(numbers)

    def of(self, archive: int) -> "_OfArchive":
        """Those of an archive."""
        return _OfArchive(self._database, archive)

    def silent(self) -> Iterator[Chosen]:
        """The silence that is to be made."""
        rows = self._database.execute(f"SELECT {COLUMNS} FROM members WHERE archive = ? ORDER BY place", (MADE,))
        return map(Chosen.of_row, rows)


class _OfArchive:
    """The chosen recordings of an archive by their names."""

    def __init__(self, database: sqlite3.Connection, archive: int) -> None:
        self._database, self._archive = database, archive

    def __contains__(self, name: object) -> bool:
        return self._row(name) is not None

    def __getitem__(self, name: str) -> Chosen:
        return Chosen.of_row(self._row(name))

    def _row(self, name: object) -> Any:
        statement = f"SELECT {COLUMNS} FROM members WHERE archive = ? AND name = ?"
        return self._database.execute(statement, (self._archive, name)).fetchone()


def compute_silence(choice: Chosen, noises: Background, front_end: FrontEnd) -> Features:
    """The features of a clip of silence that is made of the background of its split."""
    name = choice.clip.name
    waveform = silence(name, noises[choice.split], front_end.clip_samples)
    mel_power, exact = front_end.with_margins(waveform), _exact(waveform, 0, front_end)
    return Features(name, name, 0.0, len(waveform), mel_power, exact=exact)


def _exact(recording: np.ndarray, start: int, front_end: FrontEnd) -> np.ndarray | None:
    """What front end `micro` makes of a clip with what was recorded before it, uint16 (frames, mel_bins)."""
    if front_end.kind != "micro":
        return None
    features = front_end.clip_log_mel(cut_or_pad(recording, front_end.clip_samples, start), recording[:start])
    return np.rint(features / micro.SCALE).astype(np.uint16)


def _compute_task(
    task: list[tuple[Chosen, bytes | None]], front_end: FrontEnd, cut: Cut
) -> list[tuple[Chosen, list[Features]]]:
    """Threads are enough, since decoding, FFT, matrix products and reading the archive release Python's lock."""
    return [(choice, compute_recording(choice, data, front_end, cut)) for choice, data in task]
