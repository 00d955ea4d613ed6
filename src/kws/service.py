"""What the registered model does: waveforms in, words and their probabilities out. MLflow runs this file to load it.

`mlflow models serve -m models:/kws@champion --env-manager local` answers with it, the front end included.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

LOUDEST = 2.0  # full scale is 1, and resampling overshoots it a little; 16-bit integers are beyond it all


class Service(PythonModel):  # type: ignore[misc]  # MLflow has no types
    """The network with its front end, as MLflow wants it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the network, once for all requests."""
        from kws import models
        from kws.frontend import FrontEnd

        model, spec = models.load_model(Path(context.artifacts["network"]))
        self._classes, self._front_end = spec["words"], FrontEnd.from_spec(spec)
        self._answer = models.embedding_and_probabilities(model)

    def predict(self, model_input: np.ndarray) -> list[dict[str, Any]]:
        """What is said in each clip.

        Args:
            model_input: waveforms, float32 (clips, clip_samples) at the model's sample rate, full scale = 1. MLflow
                has compared them with the signature.

        Returns:
            For each clip its `label` and the `probabilities` of all labels.

        Raises:
            MlflowException: the samples cannot be sound; a server answers 400 with the reason.
        """
        refuse_unless_sound(model_input)
        log_mel = np.stack([self._front_end.log_mel(waveform) for waveform in model_input])[..., None]
        _, probabilities = self._answer(log_mel)
        return [
            {"label": self._classes[row.argmax()], "probabilities": dict(zip(self._classes, row.tolist(), strict=True))}
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
