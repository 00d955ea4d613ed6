"""Background recordings: sound in which nobody says a word. No part of one is in two splits.

What `kws listen --keep` has heard (`Clip.heard`) is for training alone, the whole of it.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from threadpoolctl import threadpool_limits

from kws.audio.decode import decode_recording
from kws.audio.frontend import BLAS_THREADS, FrontEnd
from kws.audio.mono import UnusableClipError
from kws.audio.noise import coloured_noise
from kws.core import paths
from kws.core.arrays import StoredArrays, write_arrays
from kws.core.naming import BACKGROUND
from kws.recordings.archive import MAX_MEMBER_BYTES, read_members
from kws.recordings.clips import SPLITS, Clip, lot
from kws.recordings.parts import part_of

NOBODY = "nobody//"  # begins the speaker of each silent clip that kws makes; no path of a file holds two slashes
GENERATED_SECONDS = 60
_SILENCE_DBFS = (-60.0, -10.0)
_ZEROS, _FAINT = 0.05, 0.1  # shares of silent clips that are zeros, or faint noise
_FAINT_LEVEL = 0.03  # times the level of the other silent clips
SLOPES = {"white_noise": 0.0, "pink_noise": -0.5, "brown_noise": -1.0}


# The parts of the background recordings, by split and name: float32 (samples,). They need not be in memory.
Background = Mapping[str, Mapping[str, np.ndarray]]


def is_nobody(speaker: str) -> bool:
    """Whether a clip is silence that kws made. Each such clip has a speaker of its own, who is nobody else's."""
    return speaker.startswith(NOBODY)


def read_background(
    archive: Path, clips: Iterable[Clip], front_end: FrontEnd, splits: Sequence[str] = SPLITS
) -> tuple[Background, dict[str, str]]:
    """The background recordings of a data set; and why others are not used or not used whole, by name.

    There may be days of them, so they go into a file that is gone when nothing uses it.

    Args:
        archive: of the data set.
        clips: all clips in it; the background recordings are in the folder `_background_noise_`. Computed noises take
            their place if there is none that can be used, but for those that kws has heard.
        front_end: says at which sample rate, and how long a part is at least.
        splits: whose parts are read.
    """
    remarks: dict[str, str] = {}
    parts = (
        (f"{split}/{name}", part_of(samples, split, front_end.clip_samples, whole=heard))
        for name, samples, heard in _recordings(archive, clips, front_end.sample_rate, remarks)
        for split in splits
        if split == "train" or not heard
    )
    with tempfile.TemporaryFile(dir=paths.scratch("background")) as file:
        write_arrays(file, parts)
        return {split: StoredArrays(file, f"{split}/") for split in splits}, remarks


def _recordings(
    archive: Path, clips: Iterable[Clip], sample_rate: int, remarks: dict[str, str]
) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Name and samples of each background recording that can be used, one at a time; and whether kws has heard it."""
    heard = {clip.name: clip.heard for clip in clips if clip.word == BACKGROUND}
    names = sorted(heard)
    short, used = _short_names(names), False
    for name, data in read_members(archive, set(names)):
        if data is None:
            remarks[name] = f"not used: larger than {MAX_MEMBER_BYTES:,} bytes"
            continue
        try:
            sound = decode_recording(data, sample_rate, longer="cut")
        except UnusableClipError as problem:
            remarks[name] = f"not used: {problem}"
            continue
        if sound.remarks:
            remarks[name] = "; ".join(sound.remarks)
        used = used or not heard[name]
        yield short[name], sound.samples, heard[name]
    if not used:
        for name, samples in generated(sample_rate).items():
            yield name, samples, False


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """The file's name without suffix; where two are alike, the whole name."""
    short = {name: PurePosixPath(name).stem for name in names}
    alike = Counter(short.values())
    return {name: stem if alike[stem] == 1 else name for name, stem in short.items()}


def generated(sample_rate: int) -> dict[str, np.ndarray]:
    """White, pink and brown noise: float32 (samples,), mean power 1e-2."""
    length = GENERATED_SECONDS * sample_rate
    noises = {
        name: coloured_noise(np.random.default_rng(seed), length, slope, sample_rate)
        for seed, (name, slope) in enumerate(SLOPES.items())
    }
    return {name: (0.1 * noise).astype(np.float32) for name, noise in noises.items()}


def mel_power(recordings: Background, front_end: FrontEnd) -> Iterator[tuple[str, str, np.ndarray]]:
    """Split, name and Mel power of each part of the background recordings: float32 (frames, mel_bins)."""
    for split, parts in recordings.items():
        for name, part in parts.items():
            with threadpool_limits(BLAS_THREADS):
                power = front_end.mel_power(part)
            yield split, name, power


def silence(name: str, recordings: Mapping[str, np.ndarray], samples: int) -> np.ndarray:
    """A clip without speech: a piece of a background recording at a random level, or faint noise, or zeros.

    Args:
        name: of the clip; all random numbers follow from it.
        recordings: the parts of the background recordings that belong to its split.
        samples: length of the result.

    Returns:
        float32 (samples,).
    """
    rng = np.random.default_rng(list(lot(name)))
    kind, level = rng.uniform(), 10 ** (rng.uniform(*_SILENCE_DBFS) / 20)
    if kind < _ZEROS:
        return np.zeros(samples, np.float32)
    if kind < _ZEROS + _FAINT:
        return (_FAINT_LEVEL * level * rng.standard_normal(samples)).astype(np.float32)
    part = recordings[list(recordings)[int(rng.integers(len(recordings)))]]
    first = rng.integers(len(part) - samples + 1)
    stretch = part[first : first + samples]
    return stretch * np.float32(level / max(np.sqrt(np.mean(np.square(stretch))), level * _FAINT_LEVEL))
