"""Training: Adam, early stopping on the validation loss, the best weights; a killed training resumes where it was."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from kws.dataset import features_and_labels, read_split, training_batches
from kws.errors import UserError
from kws.files import folder_written_whole, read_json, remove_folder, sha256_of

THREADS = 2  # another number of threads adds in another order, and gives other weights


# A row of the training curves: epoch, train_loss, train_accuracy, validation_loss, validation_accuracy. Accuracies are
# shares of the clips, losses cross-entropies in nats.
Epoch = dict[str, float]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    seed: int


def make_deterministic(seed: int) -> None:
    """Same seed, same weights on the same machine. To be called before anything else of TensorFlow's."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_floatx("float32")  # whatever the user's keras.json says
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(seed)


def best_epoch(history: list[Epoch]) -> Epoch:
    """The first epoch with the lowest validation loss."""
    return min(history, key=lambda row: row["validation_loss"])


def fingerprint(features: Path, model: str, schedule: Schedule) -> str:
    """Names a training by all it depends on: features, network, schedule, code and versions."""
    digest = hashlib.sha256(f"{model} {schedule} {tf.__version__} {keras.__version__}".encode())
    for path in sorted([*features.iterdir(), *Path(__file__).parent.glob("*.py")]):
        digest.update(sha256_of(path).encode())
    return digest.hexdigest()[:16]


def interrupted_training(checkpoint: Path) -> Path | None:
    """The folder of the epoch after which `train_model` would go on; None: it would start."""
    return max(checkpoint.glob("[0-9]*"), default=None)


def train_model(  # noqa: PLR0913 (a recipe has that many ingredients)
    model: keras.Model,
    features: Path,
    spec: dict[str, Any],
    *,
    schedule: Schedule,
    checkpoint: Path,
    on_epoch: Callable[[Epoch], None],
) -> tuple[keras.Model, list[Epoch]]:
    """Trains until the validation loss has not fallen for `patience` epochs, or all epochs are done.

    After each epoch the weights and the optimizer are kept in `checkpoint`; the order of the clips and the dropout
    follow from the seed and the epoch. So a training that was killed ends with the weights of an undisturbed one.

    Args:
        model: fresh from `kws.models`; the input's Normalization is adapted here.
        features: folder of the TFRecords.
        spec: the feature spec.
        schedule: how long and how fast.
        checkpoint: folder for unfinished work, of this training alone.
        on_epoch: told each new row of the curves.

    Returns:
        The model with its best weights, and the curves.
    """
    validation = features_and_labels(read_split(features, "validation", spec, schedule.batch_size))
    if kept := interrupted_training(checkpoint):
        history: list[Epoch] = read_json(kept / "history.json")
        model = keras.saving.load_model(kept / "last.keras")
    else:
        history = []
        training = features_and_labels(read_split(features, "train", spec, schedule.batch_size))
        model.get_layer("normalization").adapt(training.map(lambda log_mel, _: log_mel))
        model.compile(
            optimizer=keras.optimizers.Adam(schedule.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )

    progress = tqdm(total=schedule.epochs, initial=len(history), desc="train", unit="epoch", disable=None)
    while kept is None or not _finished(history, schedule):
        epoch = len(history) + 1
        batches = training_batches(features, spec, schedule.batch_size, schedule.seed, epoch)
        _seed_dropout(model, schedule.seed, epoch)
        trained = model.fit(batches, validation_data=validation, shuffle=False, verbose=0).history
        row: Epoch = {
            "epoch": epoch,
            "train_loss": round(trained["loss"][0], 6),
            "train_accuracy": round(trained["accuracy"][0], 6),
            "validation_loss": round(trained["val_loss"][0], 6),
            "validation_accuracy": round(trained["val_accuracy"][0], 6),
        }
        history.append(row)
        if not np.isfinite(row["validation_loss"]):
            raise UserError(f"epoch {epoch}: the validation loss is {row['validation_loss']}; lower learning_rate")
        kept = _keep(model, history, checkpoint, kept)
        on_epoch(row)
        progress.update()
        progress.set_postfix({"validation loss": row["validation_loss"], "accuracy": row["validation_accuracy"]})
    progress.close()
    best = type(model).from_config(model.get_config())  # without the optimizer, twice as large as the network
    best.load_weights(kept / "best.weights.h5")  # set_weights would leave Normalization as it was
    return best, history


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Draws each epoch's dropout from the seed and the epoch alone, so that it need not be kept in the checkpoint."""
    for index, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign(np.random.SeedSequence((seed, epoch, index)).generate_state(2))


def _finished(history: list[Epoch], schedule: Schedule) -> bool:
    return len(history) >= schedule.epochs or len(history) - best_epoch(history)["epoch"] >= schedule.patience


def _keep(model: keras.Model, history: list[Epoch], checkpoint: Path, before: Path | None) -> Path:
    """Keeps all that the next epoch depends on, in a folder of its own; then the one before may go."""
    newest = checkpoint / f"{len(history):04d}"
    with folder_written_whole(newest) as partial:
        model.save(partial / "last.keras")
        if before is None or best_epoch(history) is history[-1]:
            model.save_weights(partial / "best.weights.h5")
        else:
            shutil.copy(before / "best.weights.h5", partial)
        (partial / "history.json").write_text(json.dumps(history))
    if before:
        remove_folder(before)
    return newest
