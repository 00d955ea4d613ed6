"""The one file that a trained network is kept in, and what is asked of it."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kws.core.files import require_exists, written_whole
from kws.records.spec import FeatureSpec

EMBEDDING = "embedding"  # the name of the layer whose output `project` shows
LOGITS = "logits"  # the name of the last layer, the only one that depends on the words
_SPEC = "kws.json"


def save_model(model: keras.Model, path: Path, spec: FeatureSpec, network: Mapping[str, Any] | None = None) -> None:
    """Writes the model with what its user must know, the feature spec with the classes, inside, as one `.keras` file.

    Keras stamps its files with the time; here the same model gives the same bytes.

    Args:
        model: trained.
        path: of the file.
        spec: of the features that it takes.
        network: the parameters that it was built from; `network_of` tells them.
    """
    saved = io.BytesIO()
    with written_whole(path) as partial:
        model.save(partial)
        saved.write(partial.read_bytes())
        with zipfile.ZipFile(saved) as old, zipfile.ZipFile(partial, "w") as new:
            for name in sorted(old.namelist()):
                content = old.read(name)
                if name == "metadata.json":
                    content = json.dumps(json.loads(content) | {"date_saved": ""}).encode()
                new.writestr(zipfile.ZipInfo(name), content)
            new.writestr(zipfile.ZipInfo(_SPEC), json.dumps(spec.to_json() | {"network": network or {}}, indent=2))


def load_model(path: Path) -> tuple[keras.Model, FeatureSpec]:
    """The model and its feature spec; errors as `require_exists`."""
    with zipfile.ZipFile(require_exists(path)) as file:
        spec = FeatureSpec.from_json(json.loads(file.read(_SPEC)))
    return keras.saving.load_model(path), spec


def network_of(path: Path) -> dict[str, Any]:
    """The parameters that a network was built from; none are in files of older versions."""
    with zipfile.ZipFile(path) as file:
        return dict(json.loads(file.read(_SPEC)).get("network", {}))


def embedding_and_probabilities(model: keras.Model) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What gives, for log-Mel features (clips, frames, mel_bins, 1), the embedding and the classes' probabilities."""
    both = keras.Model(model.inputs, [model.get_layer(EMBEDDING).output, keras.ops.softmax(model.outputs[0])])

    # traced once, for any number of clips
    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))])  # type: ignore[untyped-decorator]
    def run(log_mel: tf.Tensor) -> list[tf.Tensor]:
        return both(log_mel, training=False)

    def answer(log_mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        embedding, probabilities = run(log_mel)
        return embedding.numpy(), probabilities.numpy()

    return answer
