"""Augmentation: each epoch hears every training clip a little differently. Linear Mel power in, log-Mel out.

For front end `micro` the sound before a clip, the lead, is treated as the clip is, and the features come last.

Power is what adds when sounds do, so that shift, noise, gain and speed can be had without the waveform; tests compare
each with the same thing done on the waveform. All randomness follows from a seed of two numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import tensorflow as tf

from kws.audio.frontend import FrontEnd
from kws.audio.mel import hz_to_mel
from kws.core.params import Params
from kws.train.micro import micro_compression

QUIET_DBFS = -50.0  # noise is added to softer clips, and to silence, as if they were as loud as this
NO_NOISE_DBFS = -120.0  # what is softer in a background recording, as zeros are, is made no louder than this allows
SPLICED_AT = (0.35, 0.65)  # of a clip, where most words have their middle
LARGEST_MATRIX = 2**18  # entries, a clip: 1 MB. Gathering needs less memory for more, and gives other last digits
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training clip, and how much; 0 turns each of them off. Units as in params.yaml."""

    shift_ms: float
    speed: float
    frequency_warp: float
    noise_share: float
    noise_snr_low: float
    noise_snr_high: float
    gain_db: float
    time_masks: int
    time_mask_ms: float
    frequency_masks: int
    frequency_mask_bins: int
    mixup: float
    spliced: float

    @classmethod
    def from_params(cls, params: Params) -> Self:
        """The augmentation that the parameters describe: they have the fields' names."""
        return cls(**{field.name: getattr(params, field.name) for field in fields(cls)})


class Augmenter:
    """Augments batches of clips.

    Args:
        what: which augmentations, and how much.
        front_end: what computed the features.
        background: Mel power of the background recordings that training may hear, by name: each (frames, mel_bins) and
            at least a clip long. There may be none where no noise is wanted. They stay where they are, since a graph of
            TensorFlow holds 2 GB at most.
        unknown: class of unknown words; the words have the classes before it. None: there is no such class.
    """

    def __init__(
        self, what: Augmentation, front_end: FrontEnd, background: Mapping[str, np.ndarray], unknown: int | None = None
    ) -> None:
        self._what = what
        self._unknown = unknown
        self._front_end = front_end
        self._hop_ms = 1000 * front_end.hop_length / front_end.sample_rate
        self._background = background
        self._names = sorted(background)
        # how many segments of a clip's length each recording has: none runs across two of them
        self._segments = np.array([len(background[name]) - front_end.frames + 1 for name in self._names], np.int32)

    def __call__(self, power: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Augments a batch.

        Args:
            power: Mel power with lead and margins, float32 (clips, lead + frames + 2 margin, mel_bins).
            labels: shares of the classes, float32 (clips, classes).
            seed: int32 (2,); the same seed does the same.

        Returns:
            log-Mel (clips, frames, mel_bins, 1), and labels (mixed by mixup).
        """
        what, random = self._what, _Random(seed, tf.shape(power)[0])
        power = self._cut(power, random)
        if what.spliced and self._unknown is not None:
            power, labels = _splice(power, labels, what.spliced, self._unknown, random, lead=self._front_end.lead)
        if what.mixup:
            power, labels = _mix(power, labels, what.mixup, random)
        if what.noise_share:
            power = self._add_noise(power, random)
        if what.gain_db:
            power *= decibels(random.uniform(-what.gain_db, what.gain_db))[:, None, None]
        return self._mask(self._log_mel(power), random)[..., None], labels

    def _log_mel(self, power: tf.Tensor) -> tf.Tensor:
        """The features of clips, (clips, frames, mel_bins), from Mel power with its lead."""
        if self._front_end.kind == "micro":
            return micro_compression(power, self._front_end.frames)
        return tf.math.log(power + self._front_end.log_offset)

    def _cut(self, power: tf.Tensor, random: "_Random") -> tf.Tensor:
        """A clip's length out of its power with margins: at another place (shift), and slower or faster (speed).

        The lead before it comes along, at its own speed.
        """
        what, f = self._what, self._front_end
        shift = tf.round(random.uniform(-what.shift_ms, what.shift_ms) / self._hop_ms)
        rate = 1 + random.uniform(-what.speed, what.speed)
        if not (what.shift_ms or what.speed or what.frequency_warp):
            return power[:, f.margin : f.margin + f.lead + f.frames]
        middle = (f.frames - 1) / 2
        times = (tf.range(f.frames, dtype=tf.float32) - middle) * rate[:, None] + middle
        times += (f.margin + shift)[:, None]
        clip = _interpolate(power[:, f.lead :], times)
        if f.lead:
            first = tf.cast(tf.maximum(times[:, :1], 0), tf.int32)  # of the lead, which ends where the clip starts
            lead = tf.gather(power, first + tf.range(f.lead), batch_dims=1)
            clip = tf.concat([lead, clip], axis=1)
        warp = rate * (1 + random.uniform(-what.frequency_warp, what.frequency_warp))
        return _warp(clip, warp, f) if what.speed or what.frequency_warp else clip

    def _add_noise(self, power: tf.Tensor, random: "_Random") -> tf.Tensor:
        """Adds a segment of a background recording at a signal-to-noise ratio drawn for each clip."""
        what = self._what
        recording = random.index(len(self._segments))
        first = random.index(tf.gather(self._segments, recording))
        noise = tf.numpy_function(self._stretches, [recording, first], tf.float32, stateful=False)
        noise = tf.ensure_shape(noise, power.shape)
        snr = decibels(random.uniform(what.noise_snr_low, what.noise_snr_high))
        quiet, no_noise = self._front_end.noise_power(QUIET_DBFS), self._front_end.noise_power(NO_NOISE_DBFS)
        lead = self._front_end.lead  # is not part of the clips, whose levels count
        level = tf.maximum(_mean(power[:, lead:]), quiet) / tf.maximum(_mean(noise[:, lead:]), no_noise)
        level *= tf.cast(random.uniform(0, 1) < what.noise_share, tf.float32)
        return power + noise * (level / snr)[:, None, None]

    def _stretches(self, recordings: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The segments of background recordings that begin at these frames: float32 (clips, lead + frames, mel_bins).

        The lead is what is before a segment; before the first frame of a recording comes its last one.
        """
        lead, frames = self._front_end.lead, self._front_end.frames
        stretches = np.empty((len(first), lead + frames, self._front_end.mel_bins), np.float32)
        for stretch, recording, start in zip(stretches, recordings, first, strict=True):
            background = self._background[self._names[recording]]
            stretch[lead:] = background[start : start + frames]
            stretch[:lead] = background[np.arange(start - lead, start) % len(background)]
        return stretches

    def _mask(self, log_mel: tf.Tensor, random: "_Random") -> tf.Tensor:
        """SpecAugment (Park et al., 2019): some frames, some Mel bins take the mean of the clip."""
        what = self._what
        _, frames, mel_bins = log_mel.shape
        if not (what.time_masks or what.frequency_masks):
            return log_mel
        hidden_frames = random.stretches(what.time_masks, what.time_mask_ms / self._hop_ms, frames)
        hidden_bins = random.stretches(what.frequency_masks, what.frequency_mask_bins, mel_bins)
        hidden = hidden_frames[:, :, None] | hidden_bins[:, None, :]
        return tf.where(hidden, _mean(log_mel)[:, None, None], log_mel)


def decibels(value: tf.Tensor) -> tf.Tensor:
    """Decibels as a ratio of powers."""
    return 10 ** (value / 10)


def _mean(clips: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(clips, axis=(1, 2))


def _interpolate(power: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Power (clips, length, mel_bins) at positions between its frames, (clips, n) -> (clips, n, mel_bins)."""
    length, wanted = power.shape[1], positions.shape[1]
    if length * wanted <= LARGEST_MATRIX:
        return tf.matmul(_tents(positions, length), power)
    inside = tf.clip_by_value(positions, 0, length - 1)
    before = tf.floor(inside)
    after = tf.minimum(before + 1, length - 1)
    share = (inside - before)[:, :, None]
    earlier, later = (tf.gather(power, tf.cast(frame, tf.int32), batch_dims=1) for frame in (before, after))
    return earlier * (1 - share) + later * share


def _tents(positions: tf.Tensor, length: int) -> tf.Tensor:
    """Linear interpolation as a matrix: positions on an axis (clips, n) -> weights (clips, n, length) that sum to 1."""
    inside = tf.clip_by_value(positions, 0, length - 1)
    return tf.nn.relu(1 - tf.abs(inside[:, :, None] - tf.range(length, dtype=tf.float32)))


def _warp(power: tf.Tensor, factor: tf.Tensor, front_end: FrontEnd) -> tf.Tensor:
    """Multiplies all frequencies of a clip by its factor: the Mel power at f comes from f / factor.

    Filters are as wide as 700 Hz + f (the Mel scale), so that the power of the same sound differs between them.
    """
    low, high = hz_to_mel(front_end.mel_low_hz), hz_to_mel(front_end.mel_high_hz)
    mels = tf.constant(np.linspace(low, high, front_end.mel_bins + 2), tf.float32)
    hertz, step = 700 * tf.math.expm1(mels[1:-1] / 1127), mels[1] - mels[0]
    source = 1127 * tf.math.log1p(hertz / factor[:, None] / 700)
    width = (700 + hertz) / (700 * factor[:, None] + hertz)
    weights = _tents((source - mels[1]) / step, front_end.mel_bins) * width[:, :, None]
    return tf.matmul(power, weights, transpose_b=True)


def _splice(  # noqa: PLR0913 (a splice has that many ingredients)
    power: tf.Tensor, labels: tf.Tensor, share: float, unknown: int, random: "_Random", *, lead: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes unknown words of known ones: the beginning of a clip, then the end of the next one in the batch.

    Only where both are words and not the same one. A network that has heard few other words learns from them that the
    whole of a word counts.
    """
    frames = power.shape[1]
    words, others = labels[:, :unknown], tf.roll(labels, 1, axis=0)[:, :unknown]
    two_words = (tf.reduce_sum(words, 1) * tf.reduce_sum(others, 1) > 0) & (tf.reduce_sum(words * others, 1) == 0)
    chosen = two_words & (random.uniform(0, 1) < share)
    cut = lead + random.uniform(*SPLICED_AT) * (frames - lead)
    end = chosen[:, None] & (tf.range(frames, dtype=tf.float32) >= cut[:, None])
    power = tf.where(end[:, :, None], tf.roll(power, 1, axis=0), power)
    return power, tf.where(chosen[:, None], tf.one_hot(unknown, labels.shape[1]), labels)


def _mix(power: tf.Tensor, labels: tf.Tensor, alpha: float, random: "_Random") -> tuple[tf.Tensor, tf.Tensor]:
    """Mixup (Zhang et al., 2018): each clip with the next one of the batch, in shares drawn from Beta(alpha, alpha)."""
    share = random.beta(alpha)
    share = tf.maximum(share, 1 - share)  # the clip itself is the louder one
    others, other_labels = tf.roll(power, 1, axis=0), tf.roll(labels, 1, axis=0)
    power = power * share[:, None, None] + others * (1 - share)[:, None, None]
    return power, labels * share[:, None] + other_labels * (1 - share)[:, None]


class _Random:
    """Random numbers for the clips of a batch, each draw with a seed of its own."""

    def __init__(self, seed: tf.Tensor, clips: tf.Tensor) -> None:
        self._seed, self._clips, self._draws = seed, clips, 0

    def _next(self) -> tf.Tensor:
        self._draws += 1
        return tf.random.fold_in(self._seed, self._draws)

    def uniform(self, low: float, high: float) -> tf.Tensor:
        """float32 (clips,)."""
        return low + (high - low) * tf.random.stateless_uniform([self._clips], self._next())

    def index(self, below: int | tf.Tensor) -> tf.Tensor:
        """int32 (clips,), from 0; `below` is one number or one a clip."""
        limit = tf.cast(below, tf.float32)
        return tf.cast(tf.minimum(self.uniform(0, 1) * limit, limit - 1), tf.int32)

    def beta(self, alpha: float) -> tf.Tensor:
        """float32 (clips,)."""
        a, b = (tf.random.stateless_gamma([self._clips], self._next(), alpha) for _ in range(2))
        return (a + TINY) / (a + b + 2 * TINY)

    def stretches(self, count: int, longest: float, length: int) -> tf.Tensor:
        """Booleans (clips, length): True in `count` stretches of 0 to `longest`."""
        hidden = tf.zeros([self._clips, length], tf.bool)
        axis = tf.range(length, dtype=tf.float32)
        for _ in range(count):
            wide = tf.round(self.uniform(0, min(math.floor(longest), length)))
            first = tf.floor(self.uniform(0, 1) * (length - wide + 1))
            hidden |= (axis >= first[:, None]) & (axis < (first + wide)[:, None])
        return hidden
