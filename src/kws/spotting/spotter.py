"""Runs a trained network on clips, and on streams by a sliding window, with LiteRT and NumPy."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from kws.audio.clip import cut_or_pad
from kws.core.errors import UserError
from kws.spotting.detect import Detection, Timing, detections
from kws.spotting.litert import Network


class Spotter:
    """A network that takes waveforms, with its words and threshold.

    Attributes:
        classes: in the order of the probabilities.
        words: indices of the classes that are words; `_unknown_` and `_silence_` are not.
        sample_rate: Hz, of the input.
        clip_samples: length of a window.
        step_samples: from one window to the next.
        threshold: the score from which a word is detected. The evaluation has chosen it.
        thresholds: the same for each of SENSITIVITIES; the one above is that of `balanced`.
    """

    def __init__(self, network: Network) -> None:
        about = network.about
        if about["kind"] == "features":
            raise UserError("this model takes features, not sound: use kws.tflite or kws_int8.tflite")
        self._network = network
        self.classes: list[str] = about["classes"]
        self.words = [index for index, name in enumerate(self.classes) if not name.startswith("_")]
        self.threshold: float = about["threshold"]
        levels = about.get("sensitivities", {})  # files of older versions have one threshold
        self.thresholds: dict[str, float] = {name: level["threshold"] for name, level in levels.items()}
        spec = about["front_end"]
        self.sample_rate: int = spec["sample_rate"]
        self.clip_samples: int = spec["clip_samples"]
        self._timing = Timing.of(self.clip_samples, spec["hop_length"])
        self.step_samples = self._timing.step_samples

    @classmethod
    def load(cls, path: Path) -> "Spotter":
        """The spotter in a LiteRT file; errors as in `Network.load`, and if the model takes features."""
        return cls(Network.load(path))

    def clip(self, waveform: np.ndarray) -> np.ndarray:
        """Probabilities of the classes, float32 (classes,), for one clip: cut, or padded with zeros, to a window."""
        return self._network.probabilities(cut_or_pad(waveform, self.clip_samples))

    def windows(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Probabilities of each window that slides over a stream, (classes,) each; the stream as in `sound_windows`."""
        return map(self._network.probabilities, self.sound_windows(blocks))

    def sound_windows(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The windows that slide over a stream: float32 (clip_samples,) each.

        No more of the stream is in memory than a window and a block. Zeros fill the last step at its end.

        Args:
            blocks: the stream, float32 (samples,) each, of any lengths.
        """
        heard = np.zeros(0, np.float32)
        start = covered = 0  # in `heard`: where the next window starts, and where the last one ended
        for block in blocks:
            heard = np.concatenate([heard, block])
            while start + self.clip_samples <= len(heard):
                yield heard[start : start + self.clip_samples]
                covered = start + self.clip_samples
                start += self.step_samples
            past = min(start, len(heard))
            heard, start, covered = heard[past:], start - past, covered - past
        if len(heard) > max(start, covered):
            yield cut_or_pad(heard[start:], self.clip_samples)

    def detect(self, blocks: Iterable[np.ndarray], threshold: float) -> Iterator[Detection]:
        """Yields the words in a stream, each at the window at which it is detected."""
        return detections(self.windows(blocks), self.words, self._timing, threshold)
