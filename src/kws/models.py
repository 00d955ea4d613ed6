"""The networks, by name, and the one file a trained one is kept in."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from kws.files import made, written_whole

EMBEDDING = "embedding"  # the name of the layer whose output `project` shows
_ABOUT = "kws.json"


def cnn(frames: int, mel_bins: int, classes: int) -> keras.Model:
    """The network of TensorFlow's tutorial "Simple audio recognition": log-Mel (frames, mel_bins, 1) -> logits.

    1,625,869 parameters for ten words, whatever the front end: the spectrogram is resized to 32 x 32 first.
    The layers have names of their own, since Keras's depend on what else the process has built, and stand in the file.
    """
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((frames, mel_bins, 1), name="log_mel"),
            layers.Resizing(32, 32, name="resizing"),
            layers.Normalization(name="normalization"),  # adapted to the training features before the first epoch
            layers.Conv2D(32, 3, activation="relu", name="conv_1"),
            layers.Conv2D(64, 3, activation="relu", name="conv_2"),
            layers.MaxPooling2D(name="pool"),
            layers.Dropout(0.25, name="dropout_1"),
            layers.Flatten(name="flatten"),
            layers.Dense(128, activation="relu", name=EMBEDDING),
            layers.Dropout(0.5, name="dropout_2"),
            layers.Dense(classes, name="logits"),
        ],
        name="cnn",
    )


MODELS: dict[str, Callable[[int, int, int], keras.Model]] = {"cnn": cnn}


def save_model(model: keras.Model, path: Path, about: dict[str, Any]) -> None:
    """Writes the model with what its user must know (`about`: words, feature spec) inside, as one `.keras` file.

    Keras stamps its files with the time; here the same model gives the same bytes.
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
            new.writestr(zipfile.ZipInfo(_ABOUT), json.dumps(about, indent=2))


def load_model(path: Path) -> tuple[keras.Model, dict[str, Any]]:
    """The model and what `save_model` was told about it; errors as `made`."""
    with zipfile.ZipFile(made(path)) as file:
        about = json.loads(file.read(_ABOUT))
    return keras.saving.load_model(path), about


def embedding_and_probabilities(model: keras.Model) -> keras.Model:
    """A model that gives two outputs for log-Mel features: the embedding (128,) and the words' probabilities."""
    embedding = model.get_layer(EMBEDDING).output
    return keras.Model(model.inputs, [embedding, keras.ops.softmax(model.outputs[0])])
