"""Runs a trained network on clips, and on streams by a sliding window, with LiteRT and NumPy."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path

import numpy as np

from kws.audio import micro
from kws.audio.clip import cut_or_pad
from kws.audio.frontend import NO_SOUND, FrontEnd
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
        timing: of the rule of detection.
        threshold: the score from which a word is detected. The evaluation has chosen it.
        thresholds: the same for each of SENSITIVITIES; the one above is that of `balanced`.
    """

    def __init__(self, network: Network) -> None:
        about = network.about
        spec = about["front_end"]
        self._micro: FrontEnd | None = None
        if network.takes_features:  # with front_end micro, which no LiteRT file can hold, all files do
            if spec.get("kind") != "micro":
                raise UserError("this model takes features, not sound: use kws.tflite or kws_int8.tflite")
            if not find_spec("pymicro_features"):
                raise UserError("this model needs the package pymicro-features: pip install 'kws[micro]'")
            self._micro = FrontEnd.from_json(spec)
        self._network = network
        self.classes: list[str] = about["classes"]
        self.words = [index for index, name in enumerate(self.classes) if not name.startswith("_")]
        self.threshold: float = about["threshold"]
        levels = about.get("sensitivities", {})  # files of older versions have one threshold
        self.thresholds: dict[str, float] = {name: level["threshold"] for name, level in levels.items()}
        self.sample_rate: int = spec["sample_rate"]
        self.clip_samples: int = spec["clip_samples"]
        self.timing = Timing.of(self.clip_samples, spec["hop_length"])
        self.step_samples = self.timing.step_samples

    @classmethod
    def load(cls, path: Path) -> "Spotter":
        """The spotter in a LiteRT file; errors as in `Network.load`, and if the model takes features."""
        return cls(Network.load(path))

    def clip(self, waveform: np.ndarray) -> np.ndarray:
        """Probabilities of the classes, float32 (classes,), for one clip: cut, or padded with zeros, to a window."""
        waveform = cut_or_pad(waveform, self.clip_samples)
        return self._network.clip(self._micro.clip_log_mel(waveform) if self._micro else waveform)

    def windows(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Probabilities of the windows that slide over a stream, (classes,) each; the last one is filled with zeros.

        A window is a clip long, and the next one starts a step later. A network that hears step by step gives the
        same answers. Those before it has heard a clip's length mean nothing, and are left out.

        Args:
            blocks: the stream, float32 (samples,) each, of any lengths. No more of it is in memory than a window and a
                block.
        """
        values = filled(blocks, self.clip_samples, self.step_samples)
        clip, step, shape = self.clip_samples, self.step_samples, tuple[int, ...]()
        if self._micro:  # frames take the place of samples
            values = micro_features(values, self._micro)
            clip, step, shape = self._micro.frames, self.timing.step_frames, (self._micro.mel_bins,)
        length = self._network.length
        before = clip - length  # what the network has heard when it hears the end of the first clip
        start = np.zeros((-before % step, *shape), np.float32)  # so that it hears this end with a step
        answers = map(self._network.probabilities, sliding(chain([start], values), length, step))
        return islice(answers, -(-before // step), None)

    def detect(self, blocks: Iterable[np.ndarray], threshold: float) -> Iterator[Detection]:
        """Yields the words in a stream, each at the window at which it is detected."""
        return detections(self.windows(blocks), self.words, self.timing, threshold)


def filled(blocks: Iterable[np.ndarray], length: int, step: int) -> Iterator[np.ndarray]:
    """A stream, and zeros behind it, until the last window is whole. A window starts each `step` samples.

    Args:
        blocks: the stream, float32 (samples,) each.
        length: of a window.
        step: from one window to the next.
    """
    samples = 0
    for block in blocks:
        samples += len(block)
        yield block
    if samples:
        steps = max(0, -(-(samples - length) // step))
        yield np.zeros(length + steps * step - samples, np.float32)


def micro_features(blocks: Iterable[np.ndarray], front_end: FrontEnd) -> Iterator[np.ndarray]:
    """The features of a stream, float32 (frames, mel_bins) each, by the front end of devices.

    Its state settles in a second that is made of the first clip, as for one clip: `FrontEnd.clip_log_mel`.

    Args:
        blocks: the stream, float32 (samples,) each; at least a clip in all.
        front_end: of kind `micro`.
    """
    features = micro.MicroFeatures()
    coming = iter(blocks)
    sound = np.zeros(0, np.float32)
    while len(sound) < front_end.clip_samples:
        if (block := next(coming, None)) is None:
            return
        sound = np.concatenate([sound, block])
    before = micro.sound_before(sound[: front_end.clip_samples], NO_SOUND, front_end.lead * front_end.hop_length)
    yield features.push(np.concatenate([before, sound]))[front_end.lead :]
    yield from map(features.push, coming)


def sliding(parts: Iterable[np.ndarray], length: int, step: int) -> Iterator[np.ndarray]:
    """The windows of a sequence that comes in parts, along their first axis; one starts each `step`."""
    heard: np.ndarray | None = None
    start = 0  # of the next window, in `heard`
    for part in parts:
        heard = part if heard is None else np.concatenate([heard, part])
        while start + length <= len(heard):
            yield heard[start : start + length]
            start += step
        past = min(start, len(heard))
        heard, start = heard[past:], start - past
