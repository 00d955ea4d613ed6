"""Under which conditions a network is right: how loud the word is, over how much noise, how long, and whose it is.

Each condition has a few bins with fixed edges, so that networks and data sets can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kws.audio.cut import FLOOR_PERCENTILE, STEP_SECONDS, block_decibels, spoken
from kws.evaluate import metrics
from kws.evaluate.answers import Answers

# What is measured, and its bins: name, and where it begins (it ends where the next one begins)
BINS: dict[str, dict[str, float]] = {
    "level": {"below_-40dbfs": -np.inf, "-40_to_-30dbfs": -40, "-30_to_-20dbfs": -30, "above_-20dbfs": -20},
    "snr": {"below_20db": -np.inf, "20_to_30db": 20, "30_to_50db": 30, "above_50db": 50},
    "length": {"below_0.25s": 0, "0.25_to_0.5s": 0.25, "0.5_to_0.75s": 0.5, "above_0.75s": 0.75},
    "speaker": {"1_clip": 1, "2_to_4_clips": 2, "5_to_9_clips": 5, "10_or_more_clips": 10},
}
NOT_FOUND = "not_found"  # the bin of clips whose word has no length
COLUMNS = ("condition", "bin", "accuracy", "accuracy_low", "accuracy_high", "clips")


@dataclass(frozen=True)
class Sound:
    """What is measured of a clip, by the blocks and the rule with which `kws.audio.cut` finds words.

    Attributes:
        level: of the speech, its mean power between 100 Hz and 5 kHz, in dB of full scale (a full sine has -3).
        snr: speech over the clip's own floor, in dB.
        length: of the word, the stretch of speech with the most energy, in seconds; NaN: no speech was found, and level
            and snr are those of the loudest block.
    """

    level: float
    snr: float
    length: float


def measure(waveform: np.ndarray, sample_rate: int) -> Sound:
    """Measures a clip, float32 (samples,). The zeros around a recording that is shorter than the clip do not count."""
    samples = np.trim_zeros(waveform)
    if not len(samples):
        return Sound(-np.inf, 0.0, np.nan)
    decibels = block_decibels(samples, sample_rate)
    power, floor = 10 ** (decibels / 10), float(np.percentile(decibels, FLOOR_PERCENTILE))
    stretches = spoken(decibels)
    if not stretches:
        return Sound(float(decibels.max()), float(decibels.max()) - floor, np.nan)
    level = float(10 * np.log10(np.concatenate([power[start:end] for start, end in stretches]).mean()))
    start, end = max(stretches, key=lambda stretch: power[stretch[0] : stretch[1]].sum())
    return Sound(level, level - floor, (end - start) * STEP_SECONDS)


def rows(answers: Answers, sounds: Mapping[str, Sound]) -> list[dict[str, Any]]:
    """The accuracy in each bin that holds clips, as COLUMNS.

    Args:
        answers: of the network.
        sounds: by name, what was measured of the clips in which somebody speaks; the other answers do not count.
    """
    answers = answers.subset(np.flatnonzero([name in sounds for name in answers.names]))
    if not len(answers.names):
        return []
    correct = answers.correct
    _, person, clips = np.unique(answers.speakers, return_inverse=True, return_counts=True)
    measured = [sounds[name] for name in answers.names]
    values = {name: np.array([getattr(sound, name) for sound in measured]) for name in ("level", "snr", "length")}
    values["speaker"] = clips[person].astype(float)
    table = []
    for condition, bins in BINS.items():
        value = values[condition]
        inside = np.where(np.isnan(value), len(bins), np.searchsorted(list(bins.values()), value, side="right") - 1)
        for number, name in enumerate([*bins, NOT_FOUND]):
            if (chosen := inside == number).any():
                share = metrics.share_figures("accuracy", correct[chosen], answers.speakers[chosen])
                count = int(chosen.sum())
                table.append({"condition": condition, "bin": name, **metrics.rounded(share), "clips": count})
    return table


def figures(table: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures of `metrics/evaluate.json`: `<condition>_<bin>_accuracy`, and its interval."""
    return {
        f"{row['condition']}_{row['bin']}_{name}": row[name]
        for row in table
        if row["bin"] != NOT_FOUND
        for name in ("accuracy", "accuracy_low", "accuracy_high")
    }
