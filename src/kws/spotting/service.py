"""The registered model: waveforms in, words and their probabilities out. MLflow runs this file to load the model.

`mlflow models serve -m models:/kws@champion --env-manager local` serves it. The front end is in the network's file.
"""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

LOUDEST = 2.0  # full scale is 1, and resampling may overshoot it; 16-bit integers are far above


class Service(PythonModel):  # type: ignore[misc]  # MLflow has no types
    """The exported network with the interface of MLflow. It needs neither TensorFlow nor Keras."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the network, once for all requests."""
        from kws.spotting.spotter import Spotter

        self._spotter = Spotter.load(Path(context.artifacts["network"]))
        self._lock = Lock()  # a server calls from several threads; LiteRT answers one request at a time

    def predict(self, model_input: np.ndarray) -> list[dict[str, Any]]:
        """Names the word in each clip.

        Args:
            model_input: waveforms, float32 (clips, clip_samples) at the model's sample rate, full scale = 1. MLflow
                has checked their shape by the signature.

        Returns:
            For each clip its `label` and the `probabilities` of all labels.

        Raises:
            MlflowException: the samples cannot be sound. A server answers with status 400 and the reason.
        """
        refuse_unless_sound(model_input)
        with self._lock:
            probabilities = [self._spotter.clip(waveform) for waveform in model_input]
        classes = self._spotter.classes
        return [
            {"label": classes[row.argmax()], "probabilities": dict(zip(classes, row.tolist(), strict=True))}
            for row in probabilities
        ]


def refuse_unless_sound(waveforms: np.ndarray) -> None:
    """Raises an error, which a server answers with status 400, if samples (clips, samples) cannot be sound."""
    if not len(waveforms):
        raise MlflowException.invalid_parameter_value("no clip: give at least one waveform")
    for number, waveform in enumerate(waveforms):
        if not np.isfinite(waveform).all():
            raise MlflowException.invalid_parameter_value(f"clip {number}: samples that are not numbers, or infinite")
        if np.abs(waveform).max() > LOUDEST:
            raise MlflowException.invalid_parameter_value(
                f"clip {number}: a sample of {np.abs(waveform).max():g}, but full scale is 1: "
                "divide 16-bit integers by 32768"
            )


set_model(Service())
