"""From recordings to log-Mel features, on all cores, in the order the recordings come in."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from threadpoolctl import threadpool_limits

from kws.archive import MAX_MEMBER_BYTES
from kws.audio import UnusableClipError, decode_clip, fit
from kws.frontend import FrontEnd

CLIPS_A_TASK = 64
BLAS_THREADS = 1  # in a worker; another number splits a product elsewhere, and changes the last digits of the features
TASKS_AHEAD = 4  # per core: enough to keep it busy, and no more recordings in memory than that


@dataclass(frozen=True)
class Features:
    """What became of one recording.

    Attributes:
        name: its name in the archive.
        samples: its length at the front end's sample rate, before it was cut or padded.
        log_mel: float32 (frames, mel_bins), or None for an unusable recording.
        reason: why it is unusable.
    """

    name: str
    samples: int
    log_mel: np.ndarray | None
    reason: str = ""


def compute(name: str, data: bytes | None, front_end: FrontEnd) -> Features:
    """Decodes one recording, cuts or pads it to a clip's length, computes its log-Mel.

    Args:
        name: its name in the archive.
        data: the audio file; None where it was too large to read.
        front_end: what computes the features.
    """
    if data is None:
        return Features(name, 0, None, f"larger than {MAX_MEMBER_BYTES:,} bytes")
    try:
        waveform = decode_clip(data, front_end.sample_rate)
    except UnusableClipError as problem:
        return Features(name, 0, None, str(problem))
    return Features(name, len(waveform), front_end.log_mel(fit(waveform, front_end.clip_samples)))


def compute_all(recordings: Iterable[tuple[str, bytes | None]], front_end: FrontEnd) -> Iterator[Features]:
    """`compute` for each (name, data), on every core; only a few tasks are in memory at a time."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(
        cores,
        mp_context=multiprocessing.get_context("spawn"),  # a fork of a process with TensorFlow's threads can hang
        initializer=_start_worker,
    ) as pool:
        waiting: deque[Future[list[Features]]] = deque()
        recordings = iter(recordings)
        while task := list(islice(recordings, CLIPS_A_TASK)):
            waiting.append(pool.submit(_compute_task, task, front_end))
            if len(waiting) > cores * TASKS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _start_worker() -> None:
    threadpool_limits(BLAS_THREADS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends a worker whose parent was killed: it would wait for its next task for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _compute_task(task: list[tuple[str, bytes | None]], front_end: FrontEnd) -> list[Features]:
    return [compute(name, data, front_end) for name, data in task]
