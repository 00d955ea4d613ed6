"""Training: AdamW, weight averaging, early stopping on the validation loss, the best weights.

A killed training resumes where it was.
"""

import ast
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from kws.core.errors import UserError
from kws.core.files import folder_written_whole, read_json, remove_folder, sha256_of
from kws.core.naming import UNKNOWN
from kws.core.params import Params
from kws.records.read import Part, read_split, training_batches
from kws.records.spec import FeatureSpec
from kws.records.write import read_background_power
from kws.train.augment import Augmentation, Augmenter

PACKAGES = ("audio", "records", "train")  # packages of kws that training computes with

# A row of the training curves: epoch, train_loss, train_accuracy, validation_loss, validation_accuracy. Accuracies are
# shares of the clips, losses cross-entropies in nats.
Epoch = dict[str, float]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train, and on what; units as in params.yaml."""

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Literal["constant", "cosine"]
    warmup_epochs: int
    weight_decay: float
    label_smoothing: float
    weight_averaging: float
    patience: int
    seed: int
    augmentation: Augmentation

    @classmethod
    def from_params(cls, params: Params) -> Self:
        """The recipe that the parameters describe: they have the fields' names."""
        values = {field.name: getattr(params, field.name) for field in fields(cls) if field.name != "augmentation"}
        return cls(**values, augmentation=Augmentation.from_params(params))


def make_deterministic(seed: int, threads: int) -> None:
    """Same seed and same number of threads, same weights on the same machine.

    To be called before anything else of TensorFlow's. Another number of threads adds in another order, and gives other
    last digits. A GPU, where TensorFlow sees one, takes memory as it needs it, and computes in float32: TF32 has ten
    bits of a fraction, too few for the comparison with LiteRT. This has not been tried on a GPU.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_floatx("float32")  # whatever the user's keras.json says
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(seed)


def best_epoch(history: list[Epoch], schedule: Literal["constant", "cosine"]) -> Epoch:
    """The epoch whose weights are kept: the first with the lowest validation loss; of a cosine, the last.

    When the learning rate has fallen to 0 the weights have settled, and there is nothing to choose (BC-ResNet's paper
    tests its last epoch, too).
    """
    return history[-1] if schedule == "cosine" else min(history, key=lambda row: row["validation_loss"])


def fingerprint(features: Path, network: str, recipe: Recipe) -> str:
    """Names a training by all it depends on: features, network, recipe, code, versions and the number of threads.

    Comments and docstrings are not part of the code.
    """
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    digest = hashlib.sha256(f"{network} {recipe} {threads} {tf.__version__} {keras.__version__}".encode())
    for path in sorted(features.iterdir()):
        digest.update(sha256_of(path).encode())
    digest.update(code_digest().encode())
    return digest.hexdigest()[:16]


def code_digest() -> str:
    """SHA-256 of the code that training runs, in hex digits."""
    digest = hashlib.sha256()
    package = Path(__file__).parent.parent
    for path in sorted(path for name in PACKAGES for path in (package / name).rglob("*.py")):
        digest.update(_code(path).encode())
    return digest.hexdigest()


def _code(path: Path) -> str:
    """What a module computes: its syntax tree without docstrings and comments."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return ast.dump(tree)


def interrupted_training(checkpoint: Path) -> Path | None:
    """The folder of the epoch after which `train_model` would go on; None: it would start."""
    return max(checkpoint.glob("[0-9]*"), default=None)


def train_model(  # noqa: PLR0913 (a recipe has that many ingredients)
    model: keras.Model,
    features: Path,
    spec: FeatureSpec,
    *,
    recipe: Recipe,
    checkpoint: Path,
    on_epoch: Callable[[Epoch], None],
    pretrained: bool = False,
) -> tuple[keras.Model, list[Epoch]]:
    """Trains all epochs; with a constant learning rate, until the validation loss has not fallen for `patience` epochs.

    After each epoch the weights and the optimizer are kept in `checkpoint`; the order of the clips, their augmentation
    and the dropout follow from the seed and the epoch. So a training that was killed ends with the weights of an
    undisturbed one. With weight averaging, it is the averaged weights that are validated and kept.

    Args:
        model: from `kws.train.networks`; the input's Normalization is adapted here, unless it is pretrained.
        features: folder of the TFRecords.
        spec: the feature spec.
        recipe: how to train.
        checkpoint: folder for unfinished work, of this training alone.
        on_epoch: told each new row of the curves.
        pretrained: whether the model has the weights of another network.

    Returns:
        The model with its best weights, and the curves.
    """
    average = prepare(model, spec, recipe)
    normalization = model.get_layer("normalization")
    if kept := interrupted_training(checkpoint):
        history, state = read_epoch(kept)
        restore(variables_of(model, average), state)
        normalization.finalize_state()
    else:
        history = []
        if not pretrained:
            normalization.adapt(unchanged_clips(features, "train", spec, recipe).map(lambda log_mel, _: log_mel))
    validation = unchanged_clips(features, "validation", spec, recipe)
    augmenter = augmenter_of(features, spec, recipe.augmentation)

    progress = Progress(recipe, history)
    while kept is None or not is_finished(history, recipe):
        epoch = len(history) + 1
        seed_dropout(model, recipe.seed, epoch)
        clips = smoothed_clips(features, spec, recipe, epoch, augmenter)
        trained = model.fit(clips, shuffle=False, verbose=0, callbacks=[average]).history
        state = [variable.numpy() for variable in variables_of(model, average)]
        with average.in_place():
            validated = model.evaluate(validation, verbose=0, return_dict=True)
            history.append(curves_row(epoch, {name: values[0] for name, values in trained.items()}, validated))
            kept = write_epoch(checkpoint, kept, model, state=state, history=history, recipe=recipe)
        on_epoch(history[-1])
        progress.show(history[-1])
    progress.close()
    return best_model(model, kept), history


def prepare(model: keras.Model, spec: FeatureSpec, recipe: Recipe) -> "WeightAverage":
    """Gives the model its loss and its optimizer; returns the average of its weights."""
    model.compile(
        optimizer=optimizer_of(recipe, steps_of(spec, recipe)),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.optimizer.build(model.trainable_variables)
    return WeightAverage(model, recipe.weight_averaging)


def steps_of(spec: FeatureSpec, recipe: Recipe) -> int:
    """The steps of an epoch."""
    return -(-spec.clips["train"] // recipe.batch_size)


def variables_of(model: keras.Model, average: "WeightAverage") -> list[Any]:
    """All that a training must keep to go on."""
    return [*model.variables, *model.optimizer.variables, *average.variables]


def write_epoch(  # noqa: PLR0913 (an epoch leaves that much)
    checkpoint: Path,
    kept: Path | None,
    model: keras.Model,
    *,
    state: list[np.ndarray],
    history: list[Epoch],
    recipe: Recipe,
) -> Path:
    """Keeps what is needed to go on after the newest epoch, and the weights of the best one. Removes the epoch before.

    Args:
        checkpoint: of this training.
        kept: folder of the epoch before.
        model: with the weights that were validated.
        state: values of the variables as training left them, as `variables_of` has them.
        history: the curves with this epoch.
        recipe: of the training.

    Returns:
        The folder of this epoch.
    """
    newest = checkpoint / f"{len(history):04d}"
    with folder_written_whole(newest) as partial:
        np.savez(partial / "state.npz", *state)
        if kept is None or best_epoch(history, recipe.schedule) is history[-1]:
            model.save_weights(partial / "best.weights.h5")
        else:
            shutil.copy(kept / "best.weights.h5", partial)
        (partial / "history.json").write_text(json.dumps(history))
    if kept:
        remove_folder(kept)
    return newest


def read_epoch(kept: Path) -> tuple[list[Epoch], list[np.ndarray]]:
    """The curves and the state that `write_epoch` was given."""
    with np.load(kept / "state.npz") as state:
        return read_json(kept / "history.json"), [state[f"arr_{number}"] for number in range(len(state.files))]


def best_model(model: keras.Model, kept: Path) -> keras.Model:
    """A copy of the model with the weights of the best epoch."""
    best = type(model).from_config(model.get_config())  # without the optimizer, twice as large as the network
    best.load_weights(kept / "best.weights.h5")  # set_weights would leave Normalization as it was
    return best


class Progress:
    """A bar over the epochs, on a terminal."""

    def __init__(self, recipe: Recipe, history: list[Epoch]) -> None:
        self._bar = tqdm(total=recipe.epochs, initial=len(history), desc="train", unit="epoch", disable=None)

    def show(self, row: Epoch) -> None:
        """Tells of an epoch."""
        self._bar.update()
        self._bar.set_postfix({name: row[name] for name in ("validation_loss", "validation_accuracy")})

    def close(self) -> None:
        """Ends the line."""
        self._bar.close()


def curves_row(epoch: int, trained: Mapping[str, float], validated: Mapping[str, float]) -> Epoch:
    """The row of an epoch, from loss and accuracy.

    Raises:
        UserError: the validation loss is no number.
    """
    if not np.isfinite(validated["loss"]):
        raise UserError(f"epoch {epoch}: the validation loss is {validated['loss']}; lower learning_rate")
    figures = {f"train_{name}": trained[name] for name in ("loss", "accuracy")}
    figures |= {f"validation_{name}": validated[name] for name in ("loss", "accuracy")}
    return {"epoch": epoch} | {name: round(value, 6) for name, value in figures.items()}


def optimizer_of(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    """AdamW; `steps` are those of an epoch."""
    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        warmup = recipe.warmup_epochs * steps
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            decay_steps=max(1, recipe.epochs * steps - warmup),
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _labels(label: tf.Tensor, spec: FeatureSpec) -> tf.Tensor:
    return tf.one_hot(label, len(spec.classes))


def unchanged_clips(
    features: Path, split: str, spec: FeatureSpec, recipe: Recipe, part: Part | None = None
) -> tf.data.Dataset:
    """(log_mel, labels) of a split as it is, or of a worker's part of it."""
    batches = read_split(features, split, spec, recipe.batch_size, part=part)
    return batches.map(lambda batch: (batch["log_mel"], _labels(batch["label"], spec)))


def augmenter_of(features: Path, spec: FeatureSpec, what: Augmentation) -> Augmenter:
    """What augments the training clips, with the background recordings that training may hear."""
    unknown = spec.classes.index(UNKNOWN) if UNKNOWN in spec.classes else None
    return Augmenter(what, spec.front_end, read_background_power(features, "train"), unknown)


def augmented_clips(  # noqa: PLR0913 (as `training_batches`)
    features: Path,
    spec: FeatureSpec,
    recipe: Recipe,
    epoch: int,
    augmenter: Augmenter,
    *,
    split: str = "train",
    part: Part | None = None,
) -> tf.data.Dataset:
    """The training clips in this epoch's order and with its augmentation; of other splits, as `training_batches` says.

    {"log_mel", "labels": shares of the classes after augmentation, "label": what is said, "name", "speaker"}
    """
    first, step = (part.worker, part.workers) if part else (0, 1)  # no two batches are augmented alike
    first_seed = np.random.SeedSequence((recipe.seed, epoch)).generate_state(1)[0] >> 1  # fits into an int32

    def augment(number: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        seed = tf.stack([tf.constant(first_seed, tf.int32), tf.cast(first + step * number, tf.int32)])
        log_mel, labels = augmenter(batch.pop("mel_power"), _labels(batch["label"], spec), seed)
        return batch | {"log_mel": log_mel, "labels": labels}

    batches = training_batches(features, spec, recipe.batch_size, recipe.seed, epoch, split=split, part=part)
    return batches.enumerate().map(augment)


def smoothed_clips(  # noqa: PLR0913 (as `augmented_clips`)
    features: Path, spec: FeatureSpec, recipe: Recipe, epoch: int, augmenter: Augmenter, *, part: Part | None = None
) -> tf.data.Dataset:
    """(log_mel, labels) of what `augmented_clips` gives, with label smoothing."""
    spread = recipe.label_smoothing
    clips = augmented_clips(features, spec, recipe, epoch, augmenter, part=part)
    return clips.map(
        lambda batch: (batch["log_mel"], batch["labels"] * (1 - spread) + spread / len(spec.classes))
    ).prefetch(2)


class WeightAverage(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """An exponential average of the weights over the steps (Polyak and Juditsky, 1992); momentum 0: none."""

    def __init__(self, model: keras.Model, momentum: float) -> None:
        super().__init__()
        trained = [layer for layer in model.layers if not isinstance(layer, keras.layers.Normalization)]
        self._weights = [weight.value for layer in trained for weight in layer.weights] if momentum else []
        self.variables = [tf.Variable(weight) for weight in self._weights]
        self._momentum = momentum
        self._steps = model.optimizer.iterations.value

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 (Keras's)
        """Takes up the weights after a step."""
        if self.variables:
            self._update()

    @tf.function  # type: ignore[untyped-decorator]
    def _update(self) -> None:
        steps = tf.cast(self._steps, tf.float32)
        momentum = tf.minimum(self._momentum, (1 + steps) / (10 + steps))  # the first weights are soon forgotten
        for average, weight in zip(self.variables, self._weights, strict=True):
            average.assign(momentum * average + (1 - momentum) * weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights meanwhile."""
        self._swap()
        yield
        self._swap()

    def _swap(self) -> None:
        for average, weight in zip(self.variables, self._weights, strict=True):
            kept = tf.identity(weight)
            weight.assign(average)
            average.assign(kept)


def restore(variables: list[Any], state: list[np.ndarray]) -> None:
    """Gives the variables their values."""
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)


def seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Draws each epoch's dropout from the seed and the epoch alone."""
    for state, drawn in dropout_seeds(model, seed, epoch):
        state.assign(drawn)


def dropout_seeds(
    model: keras.Model, seed: int, epoch: int, *replica: int
) -> Iterator[tuple[keras.Variable, np.ndarray]]:
    """The states that dropout is drawn from, and their values for an epoch; each of several replicas has its own."""
    for index, layer in enumerate(model.layers):
        if hasattr(layer, "seed_generator") and layer.seed_generator is not None:
            yield layer.seed_generator.state, np.random.SeedSequence((seed, epoch, index, *replica)).generate_state(2)


def is_finished(history: list[Epoch], recipe: Recipe) -> bool:
    """Whether no epoch follows."""
    best = best_epoch(history, recipe.schedule)["epoch"]
    return len(history) >= recipe.epochs or len(history) - best >= recipe.patience
