"""What is wrong with a take, and which part of it is kept. A take begins with its countdown, which is the room."""

from dataclasses import dataclass

import numpy as np

from kws.audio.cut import STEP_SECONDS, block_decibels, spoken, takes_among
from kws.audio.decode import CLIPPED_SHARE
from kws.audio.mono import clipped_samples, why_silent

SAMPLE_RATE = 16_000  # of the files: the default of the parameter sample_rate
COUNTS = 3  # numbers of the countdown ...
COUNT_SECONDS = 0.7  # ... each of which stands so long
SETTLE_SECONDS = 0.5  # at its start, in which microphones begin and keys click: not listened to
SLOW_SECONDS = 1.0  # between the end of the countdown and the word, and after it, together
NOISE_SECONDS = 60  # of the room, in one file
MARGIN_SECONDS = 0.25  # around the speech; more where a clip is longer
LEAST_DB = -45.0  # of the loudest block of speech, in dB of full scale
LEAST_OVER_ROOM_DB = 15.0  # by which the loudest block of speech is louder than the room


@dataclass(frozen=True)
class Checked:
    """A take, looked at.

    Attributes:
        start: of what is kept, in samples.
        end: of what is kept, in samples; equal to `start` where nothing can be kept.
        problems: what is wrong, a line each.
        about: what was heard, in numbers.
    """

    start: int
    end: int
    problems: tuple[str, ...]
    about: str = ""


def take_samples(clip_seconds: float) -> int:
    """How long a take lasts, with its countdown."""
    return round((COUNTS * COUNT_SECONDS + clip_seconds + SLOW_SECONDS) * SAMPLE_RATE)


def check_take(samples: np.ndarray, clip_seconds: float) -> Checked:
    """Checks a take of one word.

    The part that is kept has the speech in its middle, MARGIN_SECONDS around it, and is a clip long at least.

    Args:
        samples: float32 (samples,), the countdown and what followed it, at SAMPLE_RATE.
        clip_seconds: how long a word may last.
    """
    settled = round(SETTLE_SECONDS * SAMPLE_RATE)
    heard = samples[settled:]
    if reason := why_silent(heard):
        return Checked(0, 0, (f"{reason}; is the microphone on?",))
    decibels = block_decibels(heard, SAMPLE_RATE)
    stretches = spoken(decibels)
    if not stretches:
        return Checked(0, 0, ("no speech: nothing was louder than the room",))
    (first, end), takes = takes_among(stretches, decibels)
    level, seconds = decibels[first:end].max(), (end - first) * STEP_SECONDS
    room = np.median(decibels[: round((COUNTS * COUNT_SECONDS - SETTLE_SECONDS) / STEP_SECONDS)])
    problems = []
    if level < LEAST_DB:
        problems.append(f"too soft: {level:.0f} dB, and {LEAST_DB:.0f} dB is the least; come closer, or speak up")
    if level - room < LEAST_OVER_ROOM_DB:
        problems.append(
            f"too noisy: {level - room:.0f} dB above the room, and {LEAST_OVER_ROOM_DB:.0f} dB is the least"
        )
    if seconds > clip_seconds:
        problems.append(f"too long: {seconds:.1f} s, and a clip has {clip_seconds:g} s (--clip-seconds)")
    if first == 0:
        problems.append("cut at the start: wait for the end of the countdown")
    if end == len(decibels):
        problems.append("cut at the end: say it as soon as the countdown has ended")
    if len(takes) > 1:
        problems.append(f"several: {len(takes)} sounds with a pause between them; say the word once")
    half = max(clip_seconds, seconds + 2 * MARGIN_SECONDS) / 2
    middle = (first + end) / 2 * STEP_SECONDS
    start, stop = (round(min(max(edge * SAMPLE_RATE, 0), len(heard))) for edge in (middle - half, middle + half))
    problems += _clipped(heard[start:stop])
    about = f"{seconds:.2f} s, {level:.0f} dB, {level - room:.0f} dB above the room"
    return Checked(settled + start, settled + stop, tuple(problems), about)


def check_noise(samples: np.ndarray) -> Checked:
    """Checks a recording of the room, of which all is kept: float32 (samples,), at SAMPLE_RATE."""
    if reason := why_silent(samples):
        return Checked(0, 0, (f"{reason}; is the microphone on?",))
    level = np.median(block_decibels(samples, SAMPLE_RATE))
    return Checked(0, len(samples), tuple(_clipped(samples)), f"{len(samples) / SAMPLE_RATE:.0f} s, {level:.0f} dB")


def _clipped(samples: np.ndarray) -> list[str]:
    if clipped_samples(samples) <= CLIPPED_SHARE * len(samples):
        return []
    return ["clipped: too loud for the microphone; speak from further away, or turn its level down"]
