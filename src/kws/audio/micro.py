"""The front end of small devices, front_end `micro`: what ESPHome and TensorFlow Lite Micro compute in fixed point.

waveform -> frames -> window -> FFT -> square root of Mel power -> noise reduction -> PCAN -> logarithm

Noise reduction subtracts a running mean of each channel. PCAN (per-channel amplitude normalisation) divides by a power
of the same mean, in the manner of Wang et al. (2017), "Trainable frontend for robust and far-field keyword spotting".
So the features of a frame depend on the second before it. All constants are those of the library `microfrontend` of
TensorFlow Lite. Package pymicro-features, which holds that library, computes the features exactly. Training needs them
from Mel power, to which noise can be added: it has them in float, in `kws.train.micro`.
"""

from types import MappingProxyType

import numpy as np

SAMPLE_RATE, FRAME_LENGTH, HOP_LENGTH, FFT_LENGTH, MEL_BINS = 16_000, 480, 160, 512, 40
SETTINGS = MappingProxyType(  # what the parameters must be: this front end has no others
    {
        "sample_rate": SAMPLE_RATE,
        "frame_length": FRAME_LENGTH,
        "hop_length": HOP_LENGTH,
        "fft_length": FFT_LENGTH,
        "mel_bins": MEL_BINS,
        "mel_low_hz": 125.0,
        "mel_high_hz": 7500.0,
    }
)
SCALE = 10 / 256  # from the library's whole numbers to features, 0 to about 26

LEAD_SECONDS = 1.0  # of sound before a clip, after which its features hardly depend on what was before
QUIET_SECONDS = 0.3  # the quietest part of a clip that sound before it is made of: docs/decisions/0010

FULL_SCALE = 32_768  # of samples in 16 bits
_BITS = 12  # of the window and of the Mel filters
_ONE = 1 << _BITS
_FFT_NOISE = 0.4  # in steps of 16 bits squared: what rounding adds to the power of each bin; as measured


def _window() -> np.ndarray:
    """The window in 12 bits, half a sample off the periodic Hann window: int32 (frame_length,), 0 to 4096."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(FRAME_LENGTH) + 0.5) / FRAME_LENGTH)
    return np.floor(hann * _ONE + 0.5).astype(np.int32)


WINDOW = _window()


def rounded_weights(weights: np.ndarray) -> np.ndarray:
    """The Mel filter bank as 12 bits hold it: float32, of the same shape."""
    return (np.floor(weights * _ONE + 0.5) / _ONE).astype(np.float32)


def power(frames: np.ndarray) -> np.ndarray:
    """Power spectrum of frames: float32 (frames, frame_length) -> (frames, fft_length // 2 + 1), full scale = 1.

    The window is applied in whole numbers, as on devices. The FFT is in float. What the FFT of devices loses by its 16
    bits, after a shift that makes the most of them, is added as noise of the same power.
    """
    import scipy.fft  # which `kws predict` does without

    windowed = (_in_16_bits(frames).astype(np.int32) * WINDOW) >> _BITS
    _, bits = np.frexp(np.abs(windowed).max(axis=1).astype(np.float32))
    spectrum = scipy.fft.rfft(windowed.astype(np.float32) / FULL_SCALE, n=FFT_LENGTH)
    step = np.float32(FFT_LENGTH / FULL_SCALE) * np.exp2(bits - 15, dtype=np.float32)
    return np.square(spectrum.real) + np.square(spectrum.imag) + _FFT_NOISE * np.square(step)[:, None]


def sound_before(clip: np.ndarray, before: np.ndarray, length: int) -> np.ndarray:
    """Sound of so many samples that ends where a clip starts: float32 (length,).

    Where the recording does not reach back so far, the quietest part of the clip takes the place, played forwards and
    backwards. Digital silence around the clip is none of it.

    Args:
        clip: float32 (samples,).
        before: what was recorded before the clip, of any length.
        length: in samples.
    """
    heard = before[max(0, len(before) - length) :]
    return np.concatenate([forwards_and_backwards(quietest(clip), length - len(heard)), heard])


def forwards_and_backwards(sound: np.ndarray, length: int) -> np.ndarray:
    """So many samples of a sound played forwards, backwards and so on; they end with the first sample of the sound."""
    there_and_back = np.concatenate([sound, sound[::-1]])
    repeated = np.resize(there_and_back, -(-length // len(there_and_back)) * len(there_and_back))
    return repeated[len(repeated) - length :]


def quietest(clip: np.ndarray, seconds: float = QUIET_SECONDS) -> np.ndarray:
    """The part of a clip with the least energy, without zeros at the ends of the clip; or all of it."""
    [sounding] = np.nonzero(clip)
    if not len(sounding):
        return clip
    clip = clip[sounding[0] : sounding[-1] + 1]
    length = min(round(seconds * SAMPLE_RATE), len(clip))
    until = np.concatenate([[0.0], np.cumsum(np.square(clip, dtype=np.float64))])
    start = int(np.argmin((until[length:] - until[:-length])[::HOP_LENGTH])) * HOP_LENGTH
    return clip[start : start + length]


class MicroFeatures:
    """The exact features of a stream, step by step, from a cold start.

    Raises:
        ModuleNotFoundError: package pymicro-features is missing.
    """

    def __init__(self) -> None:
        from pymicro_features import MicroFrontend

        self._front_end = MicroFrontend()
        self._waiting = b""  # samples of a step that has not ended

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The features of the frames that end within these samples.

        Args:
            samples: the next ones of the stream, float32 (samples,), of any number; full scale is 1.

        Returns:
            float32 (frames, mel_bins), 0 to about 26; there may be no frame.
        """
        sound = self._waiting + _in_16_bits(samples).astype("<i2").tobytes()
        step = 2 * HOP_LENGTH  # bytes: the package takes no less, and gives one frame for it or none
        whole = len(sound) - len(sound) % step
        outputs = (self._front_end.process_samples(sound[place : place + step]) for place in range(0, whole, step))
        frames = [output.features for output in outputs if output.features]
        self._waiting = sound[whole:]
        return np.array(frames, np.float32).reshape(-1, MEL_BINS)


def micro_features(sound: np.ndarray) -> np.ndarray:
    """The exact features of a whole sound, from a cold start: float32 (samples,) -> (frames, mel_bins)."""
    return MicroFeatures().push(sound)


def _in_16_bits(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
