"""What the registered model does: waveforms in, words and their probabilities out. MLflow runs this file to load it.

`mlflow models serve -m models:/kws@champion --env-manager local` answers with it, the front end included.
"""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

LOUDEST = 2.0  # full scale is 1, and resampling overshoots it a little; 16-bit integers are beyond it all


class Service(PythonModel):  # type: ignore[misc]  # MLflow has no types
    """The exported network, as MLflow wants it: neither TensorFlow nor Keras is needed."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the network, once for all requests."""
        from kws.spotting.spotter import Spotter

        self._spotter = Spotter.load(Path(context.artifacts["network"]))
        self._lock = Lock()  # a server asks from several threads; LiteRT answers one request at a time

    def predict(self, model_input: np.ndarray) -> list[dict[str, Any]]:
        """Names the word in each clip.

        Args:
            model_input: waveforms, float32 (clips, clip_samples) at the model's sample rate, full scale = 1. MLflow
                has checked their shape by the signature.

        Returns:
            For each clip its `label` and the `probabilities` of all labels.

        Raises:
            MlflowException: the samples cannot be sound; a server answers 400 with the reason.
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
    """Raises what a server answers 400 to, with the reason, where samples (clips, samples) cannot be sound."""
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
