"""A LiteRT file that contains its own description: read and run without TensorFlow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import Model

from kws.core.errors import UserError
from kws.core.stderr import without_banners

ABOUT = "kws.json"  # the name of our entry in the file's metadata
KINDS = {  # the exported files; the last two hear step by step, and are there if the network is causal
    "float32": "kws.tflite",
    "int8": "kws_int8.tflite",
    "features": "kws_features.tflite",
    "stream": "kws_stream.tflite",
    "stream_features": "kws_stream_features.tflite",
}


class Network:
    """A network in a LiteRT file, on one thread.

    It hears a clip, or step by step a stream. In the second case it has a state, so that each stream needs a network of
    its own.

    Attributes:
        length: samples, or frames of features, that it takes at a time: a clip's, or a step's.
        about: what the export stage wrote into the file: `kind` (one of KINDS), `classes` in the order of
            the network's outputs, `front_end` (`kws.audio.frontend.FrontEnd.to_json`), `threshold`, and what
            `kws.export.detection` says of it and of the thresholds beside it.
    """

    def __init__(self, content: bytes) -> None:
        with without_banners():
            self._interpreter = Interpreter(model_content=content, num_threads=1)  # it verifies the file
            self._interpreter.allocate_tensors()
        self.about = read_about(content)
        [self._input], [self._output] = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.length = int(self._input["shape"][1])

    @classmethod
    def load(cls, path: Path) -> "Network":
        """The network in a file.

        Raises:
            UserError: the file does not exist, or the export stage did not write it.
        """
        if not path.is_file():
            raise UserError(f"{path}: no such model; dvc repro export writes models/export, --model names another file")
        try:
            return cls(path.read_bytes())
        except (OSError, RuntimeError, ValueError) as error:  # unreadable, unknown operators, no LiteRT file
            raise UserError(f"{path}: not a model of the export stage, or damaged: {error}") from None

    @property
    def takes_features(self) -> bool:
        """Whether it takes log-Mel, not sound."""
        return len(self._input["shape"]) > 2

    def clip(self, values: np.ndarray) -> np.ndarray:
        """The probabilities of the classes for one clip; those at its end, if the network hears step by step.

        They depend on nothing that was heard before.

        Args:
            values: float32, the waveform (clip_samples,), or log-Mel (frames, mel_bins).
        """
        start = -len(values) % self.length  # zeros, so that a step ends with the clip
        whole = np.pad(values, [(start, 0), *[(0, 0)] * (values.ndim - 1)])
        return [self.probabilities(step) for step in np.split(whole, len(whole) // self.length)][-1]

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """The probabilities of the classes after one inference.

        Args:
            values: float32, the waveform (length,), or log-Mel (length, mel_bins).

        Returns:
            float32 (classes,).
        """
        self._interpreter.set_tensor(self._input["index"], values.reshape(self._input["shape"]))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])[0]


def read_about(content: bytes) -> dict[str, Any]:
    """What the export stage wrote into the metadata of a LiteRT file.

    Raises:
        ValueError: the export stage did not write it.
    """
    model = Model.GetRootAs(content, 0)
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == ABOUT.encode():
            return json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    raise ValueError(f"no {ABOUT} in its metadata")
