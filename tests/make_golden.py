"""Writes tests/golden.npz, what every front end must give: `python tests/make_golden.py`.

In 64 bits and by the formulas of the papers, one step after the other, sharing no code with `kws.audio.frontend`.
"""

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden.npz")
SPECS = {
    "default": {"frame_length": 1024, "hop_length": 256, "fft_length": 1024, "mel_bins": 80, "log_offset": 1e-7},
    "presets": {"frame_length": 480, "hop_length": 320, "fft_length": 512, "mel_bins": 40, "log_offset": 1e-6},
    "odd": {"frame_length": 255, "hop_length": 100, "fft_length": 300, "mel_bins": 20, "log_offset": 1e-6},
}
COMMON = {"sample_rate": 16_000, "clip_samples": 8000, "mel_low_hz": 20.0, "mel_high_hz": 7600.0}


def main() -> None:
    """One waveform: a rising tone, a click, hiss and digital silence; its log-Mel by each of SPECS."""
    time = np.arange(COMMON["clip_samples"]) / COMMON["sample_rate"]
    sound = 0.3 * np.sin(2 * np.pi * (200 + 6000 * time) * time)
    sound += 0.01 * np.random.default_rng(0).normal(size=len(time))
    sound[3000] = 0.9
    sound[6000:] = 0
    waveform = np.round(sound * 32_767).astype(np.int16)
    specs = {name: COMMON | spec for name, spec in SPECS.items()}
    log_mels = {name: log_mel(waveform / 32_768, **spec).astype(np.float32) for name, spec in specs.items()}
    np.savez_compressed(GOLDEN, waveform=waveform, specs=json.dumps(specs), **log_mels)


def log_mel(  # noqa: PLR0913 (a front end has that many numbers)
    waveform: np.ndarray,
    *,
    sample_rate: int,
    clip_samples: int,
    frame_length: int,
    hop_length: int,
    fft_length: int,
    mel_bins: int,
    mel_low_hz: float,
    mel_high_hz: float,
    log_offset: float,
) -> np.ndarray:
    """The log-Mel spectrogram of a waveform, float64 (frames, mel_bins)."""
    period = frame_length - frame_length % 2
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame_length) / period)
    starts = range(0, clip_samples - frame_length + 1, hop_length)
    frames = np.array([waveform[start : start + frame_length] * window for start in starts])
    turns = np.outer(np.arange(frame_length), np.arange(fft_length // 2 + 1)) / fft_length
    power = np.abs(frames @ np.exp(-2j * np.pi * turns)) ** 2

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log(1 + np.asarray(hertz) / 700)

    at = mel(np.arange(fft_length // 2 + 1) * sample_rate / fft_length)
    corners = np.linspace(mel(mel_low_hz), mel(mel_high_hz), mel_bins + 2)
    filters = [np.interp(at, corners[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(mel_bins)]
    return np.log(power @ np.transpose(filters) + log_offset)


if __name__ == "__main__":
    main()
