"""One channel of sound that can be used: mixing, scale, and what is no sound at all."""

import numpy as np

CANCELLED = 0.1  # times the level of the loudest channel; a softer mixture means that channels cancel each other
OVER = 8.0  # times full scale: louder samples are integers that were stored as floats
INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)  # of 16, 24 and 32 bits
EIGHT_BITS = 2.0**7  # likewise, if all samples are whole numbers
ONE_BIT = 2.0**-6  # the widest range of samples that differ by one bit of 8 ...
FEW = 5  # ... and as many values at most, where two channels are mixed
INAUDIBLE = 2.0**-14  # a narrower range is one bit of 16, decoded from whatever format
FULL_SCALE = 0.99  # from here on a sample may be clipped ...
CLIPPED_RUN = 3  # ... and is, with its neighbours


class UnusableClipError(Exception):
    """No features can be computed from a recording. The text of the error is the reason."""


class Mono:
    """Makes one channel of several. What it decides at a block holds for the blocks after it.

    Attributes:
        remarks: what was mended.
    """

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self._channel: int | None = None  # the only one that is taken
        self._energies: np.ndarray | float = 0.0  # of each channel, and of their mean, in all blocks so far
        self._divisor = 1.0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The mean of the channels, or one of them if the others cancel it.

        Args:
            samples: float32 (samples, channels), or (samples,) of one channel.

        Returns:
            float32 (samples,), full scale = 1.

        Raises:
            UnusableClipError: samples are not numbers.
        """
        if samples.ndim == 1:
            mono = samples
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # of samples that are refused below
                mono = samples.mean(axis=1)
                if self._channel is None and samples.shape[1] > 1:
                    self._compare(samples, mono)
                if self._channel is not None:
                    mono = samples[:, self._channel]
        if not len(mono):
            return mono
        low, high = float(mono.min()), float(mono.max())
        if not np.isfinite(high - low):
            raise UnusableClipError("samples that are not numbers")
        if (peak := max(-low, high)) > OVER * self._divisor:
            whole = peak <= EIGHT_BITS and np.array_equal(samples, np.rint(samples))
            self._divisor = EIGHT_BITS if whole else next((scale for scale in INTEGER_SCALES if peak <= scale), peak)
            self.remarks.append(f"divided by {self._divisor:.0f}: floats in the range of integers")
        return mono if self._divisor == 1 else mono / np.float32(self._divisor)

    def _compare(self, samples: np.ndarray, mono: np.ndarray) -> None:
        """Takes the loudest channel alone if the mean does not keep its sound.

        What is compared are differences of neighbouring samples, which have no offset and little hum.
        """
        columns = (*samples.T, mono)
        energies = [float(np.square(np.diff(column)).sum(dtype=np.float64)) for column in columns]
        self._energies = np.add(self._energies, energies)
        *channels, mixed = self._energies
        if mixed < CANCELLED**2 * max(channels):
            self._channel = int(np.argmax(channels))
            self.remarks.append(f"channel {self._channel + 1} of {len(channels)} alone: the channels cancel each other")


def why_silent(samples: np.ndarray) -> str:
    """Why there is no sound: what a microphone gives that is off, one value or one bit of noise. Empty if there is.

    Args:
        samples: float32 (samples,), full scale = 1, before resampling.
    """
    if not len(samples):
        return "no samples"
    low, high = samples.min(), samples.max()
    if low == high:
        return "silent: every sample is " + ("zero" if low == 0 else f"the same, {low:.3g}")
    if high - low <= INAUDIBLE or (high - low <= ONE_BIT and len(np.unique(samples)) <= FEW):
        return "silent: its samples differ by one bit"
    return ""


def few_values(samples: np.ndarray) -> np.ndarray:
    """Some of the values, the lowest and the highest among them. `why_silent` says the same of them as of all."""
    values = np.unique(samples)
    return values[np.linspace(0, len(values) - 1, min(len(values), FEW + 1)).astype(int)]


def check_sound(samples: np.ndarray) -> None:
    """Refuses what `why_silent` gives a reason for.

    Raises:
        UnusableClipError: there is no sound in it.
    """
    if reason := why_silent(samples):
        raise UnusableClipError(reason)


def clipped_samples(samples: np.ndarray) -> int:
    """How many samples stand at full scale, three or more side by side."""
    if not len(samples) or max(-samples.min(), samples.max()) < FULL_SCALE:
        return 0
    over = np.concatenate([[0], np.abs(samples) >= FULL_SCALE, [0]]).astype(np.int8)
    starts, ends = (np.flatnonzero(np.diff(over) == step) for step in (1, -1))
    runs = ends - starts
    return int(runs[runs >= CLIPPED_RUN].sum())
