"""The microphone of this machine: blocks of samples, at the rate that is asked for."""

import sys
from collections.abc import Generator
from typing import Any

import numpy as np
import soxr

from kws.audio.mono import Mono
from kws.core.errors import UserError

BLOCK_SECONDS = 0.02  # of its sound are heard at once: no answer waits longer for the end of a block
METER = 40  # characters of the level meter, from -METER_DB to full scale
METER_DB = 60
ELSEWHERE = "or give a sound file: --source FILE"


def sounddevice() -> Any:
    """The package of that name.

    Raises:
        UserError: it is not installed, or the library below it is not.
    """
    try:
        import sounddevice
    except ImportError:
        raise UserError(f"the microphone needs the package sounddevice: pip install sounddevice, {ELSEWHERE}") from None
    except OSError:
        raise UserError(f"the microphone needs the library PortAudio (Debian: libportaudio2), {ELSEWHERE}") from None
    return sounddevice


def microphone(sample_rate: int, device: str | None, remarks: list[str]) -> Generator[np.ndarray]:
    """Blocks from a microphone, mixed and resampled if it has not this rate and one channel.

    Args:
        sample_rate: of the blocks, in Hz.
        device: name or number of the microphone; None: the machine's own choice.
        remarks: gets what was mended.

    Yields:
        float32 (samples,), full scale = 1.

    Raises:
        UserError: no microphone answers, or it is gone.
    """
    package = sounddevice()
    chosen: Any = int(device) if device and device.isdecimal() else device
    try:
        rate, channels = _settings(package, chosen, sample_rate)
        block = round(BLOCK_SECONDS * rate)
        resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="VHQ")
        mono = Mono()
        mono.remarks = remarks
        with package.InputStream(
            samplerate=rate, blocksize=block, device=chosen, channels=channels, dtype="float32"
        ) as stream:
            while True:
                samples, lost = stream.read(block)
                if lost:
                    print("warning: sound was lost, since this machine is too slow", file=sys.stderr)
                mixed = mono(samples)
                yield mixed if rate == sample_rate else resampler.resample_chunk(mixed)
    except (package.PortAudioError, ValueError) as error:
        raise UserError(
            f"no microphone answers ({error}); --devices lists them, --device chooses one, {ELSEWHERE}"
        ) from None


def _settings(package: Any, device: Any, wanted: int) -> tuple[int, int]:
    """The sample rate and the number of channels that a microphone accepts: the wanted rate and one, else its own."""
    about = package.query_devices(device, "input")
    own = round(about["default_samplerate"])
    for channels in (1, 2, about["max_input_channels"]):
        for rate in (wanted, own):
            try:
                package.check_input_settings(device=device, channels=channels, samplerate=rate, dtype="float32")
            except (package.PortAudioError, ValueError):
                continue
            return rate, channels
    return own, about["max_input_channels"]


def meter(block: np.ndarray) -> str:
    """The level of a block, as a bar and in dB of full scale."""
    decibels = 20 * np.log10(max(float(np.sqrt(np.mean(np.square(block)))), 1e-6))
    filled = round(METER * min(1.0, max(0.0, 1 + decibels / METER_DB)))
    return f"[{'#' * filled:{METER}}] {decibels:4.0f} dB"
