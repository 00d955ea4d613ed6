"""Where the word is in a recording: by energy over the recording's own noise floor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft

Cut = Literal["start", "word", "takes"]

STEP_SECONDS = 0.01  # a block of energy
# Where speech is loud; hum and hiss are outside. The edges are slopes: behind sharp ones a click rings on like a word.
BAND_HZ = (100.0, 200.0, 4000.0, 5000.0)
FLOOR_PERCENTILE = 20  # of the blocks: the level of the pauses
OVER_FLOOR_DB = 6.0  # a block of speech is louder than the floor by this much ...
BELOW_PEAK_DB = 30.0  # ... and not further below the loudest block
PAUSE_SECONDS = 0.3  # a longer one ends a word; the closure of a stop consonant is shorter
SHORTEST_SECONDS = 0.06  # of a word; clicks are shorter
KNOCK_SECONDS = 0.16  # a shorter stretch may be a knock, and counts only where there is no longer one
EDGE_DB = 12.0  # a word touches the edge of a clip if it is there no further below its peak
SOFTEST_DB = 20.0  # a take is not further below the loudest one

LONGER = "cut from a longer recording"
SEVERAL = "the loudest of several takes (cut=takes uses them all)"
SOFTER = "takes left out since they are much softer or shorter"


def block_decibels(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Level of speech in each block of STEP_SECONDS, averaged over three blocks: float (blocks,), dB."""
    step = round(STEP_SECONDS * sample_rate)
    spectrum = scipy.fft.rfft(samples.astype(np.float64))
    frequencies = np.arange(len(spectrum)) * sample_rate / len(samples)
    spectrum *= np.interp(frequencies, BAND_HZ, (0, 1, 1, 0))
    band = scipy.fft.irfft(spectrum, len(samples))
    energy = np.add.reduceat(band**2, np.arange(0, len(band), step)) / step
    return 10 * np.log10(np.convolve(energy, np.ones(3) / 3, "same") + 1e-12)


def spoken(decibels: np.ndarray, below_peak_db: float = BELOW_PEAK_DB) -> list[tuple[int, int]]:
    """The stretches of speech, in blocks: from the first, to before the second; none in even noise.

    Args:
        decibels: level of each block, (blocks,).
        below_peak_db: a block of speech is not further below the loudest one.
    """
    floor, peak = np.percentile(decibels, FLOOR_PERCENTILE), decibels.max()
    if peak < floor + OVER_FLOOR_DB:
        return []
    loud = decibels >= max(floor + OVER_FLOOR_DB, peak - below_peak_db)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud, [0]]).astype(np.int8)))
    stretches = [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
    joined: list[tuple[int, int]] = []
    for start, end in stretches:
        if joined and (start - joined[-1][1]) * STEP_SECONDS < PAUSE_SECONDS:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return [(start, end) for start, end in joined if (end - start) * STEP_SECONDS >= SHORTEST_SECONDS]


def speech_interval(samples: np.ndarray, sample_rate: int, below_peak_db: float = BELOW_PEAK_DB) -> tuple[float, float]:
    """When the first stretch of speech starts and the last one ends, in seconds; the whole where none stands out.

    Args:
        samples: float32 (samples,), the recording.
        sample_rate: in Hz.
        below_peak_db: see `spoken`. A smaller one ends speech earlier.
    """
    length = len(samples) / sample_rate
    stretches = spoken(block_decibels(samples, sample_rate), below_peak_db)
    if not stretches:
        return 0.0, length
    return stretches[0][0] * STEP_SECONDS, min(stretches[-1][1] * STEP_SECONDS, length)


def takes_among(
    stretches: Sequence[tuple[int, int]], decibels: np.ndarray
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The stretch of speech with the most energy, and all that are a take: no knocks, and not much softer.

    Args:
        stretches: one at least, as from `spoken`.
        decibels: level of each block, (blocks,).
    """
    power = 10 ** (decibels / 10)
    words = [stretch for stretch in stretches if (stretch[1] - stretch[0]) * STEP_SECONDS >= KNOCK_SECONDS] or stretches
    energies = [power[start:end].sum() for start, end in words]
    loudest = int(np.argmax(energies))
    enough = energies[loudest] * 10 ** (-SOFTEST_DB / 10)
    return words[loudest], [stretch for stretch, energy in zip(words, energies, strict=True) if energy >= enough]


@dataclass(frozen=True)
class Cuts:
    """The clips of a recording.

    Attributes:
        starts: in seconds, in whole blocks; none if the recording is longer than a clip and has no speech.
        remarks: what of the recording is left out.
    """

    starts: tuple[float, ...]
    remarks: tuple[str, ...] = ()


def clip_starts(samples: np.ndarray, sample_rate: int, length: int, cut: Cut) -> Cuts:
    """Where the clips of a recording start.

    Args:
        samples: float32 (samples,), the recording.
        sample_rate: in Hz.
        length: of a clip, in samples.
        cut: `start`: the recording's first samples. `word`: the loudest stretch of speech, in the middle of the clip.
            `takes`: each stretch of speech between pauses, unless it is much softer than the loudest.
    """
    if len(samples) <= length:
        return Cuts((0.0,))
    if cut == "start":
        return Cuts((0.0,), (LONGER,))
    decibels = block_decibels(samples, sample_rate)
    stretches = spoken(decibels)
    if not stretches:
        return Cuts(())
    loudest, takes = takes_among(stretches, decibels)
    blocks = length / (STEP_SECONDS * sample_rate)
    last = (len(samples) - length) / (STEP_SECONDS * sample_rate)
    power = 10 ** (decibels / 10)
    if cut == "word":
        several = (f"{SEVERAL}: {len(takes)}",) if len(takes) > 1 else ()
        return Cuts((_start(power, loudest, blocks, last),), (LONGER, *several))
    left_out = len(stretches) - len(takes)
    softer = (f"{SOFTER}: {left_out}",) if left_out else ()
    return Cuts(tuple(_start(power, take, blocks, last) for take in takes), (LONGER, *softer))


def _start(power: np.ndarray, stretch: tuple[int, int], blocks: float, last: float) -> float:
    """The start, in seconds, of a clip of so many blocks with a stretch of speech in its middle."""
    first, end = stretch
    whole = int(blocks)
    if end - first > whole:  # the loudest part of it
        sums = np.convolve(power[first:end], np.ones(whole), "valid")
        first += int(sums.argmax())
        end = first + whole
    start = min(max((first + end - blocks) / 2, 0), last)
    return round(int(start) * STEP_SECONDS, 2)


def touches_edge(decibels: np.ndarray) -> bool:
    """Whether a word is cut off at the start or the end of a clip, as far as levels tell.

    Args:
        decibels: level of each frame, (frames,).
    """
    ordered = np.sort(decibels)  # ten times as fast as np.percentile, for each of all clips
    floor, peak = ordered[len(ordered) * FLOOR_PERCENTILE // 100], ordered[-1]
    return bool(max(decibels[0], decibels[-1]) >= max(floor + OVER_FLOOR_DB, peak - EDGE_DB))
