"""Training on several machines, for data that one alone cannot train on: docs/training-workers.md.

Each worker reads its own shards. At each step all workers sum their gradients and average their moving statistics, so
that all have the same weights. TensorFlow's MultiWorkerMirroredStrategy does the summing; the loop is ours, since Keras
cannot `fit` under it (https://github.com/keras-team/keras/issues/20585). Each GPU of a machine is a replica with clips
of its own, and so is a machine without a GPU. Only the chief writes.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import require_exists, sha256_of
from kws.core.params import Params, pretrained_path
from kws.records.read import Part
from kws.records.spec import FeatureSpec
from kws.records.write import BACKGROUND_FILE
from kws.train import meeting, training
from kws.train.training import Epoch, Recipe

SHARED = (paths.SPEC.name, paths.MANIFEST.name, BACKGROUND_FILE)  # of the features: every worker has them
CONNECT_SECONDS = 120  # in which TensorFlow connects workers that have met
HEARTBEAT_SECONDS = 60  # without a sign of life, a worker counts as lost; a machine may stand still for a while
LOST = (  # what TensorFlow raises on a worker when another one is gone
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)
# While TensorFlow connects, Python runs nothing, and an hour passes if a worker is gone. So another process watches: it
# ends with its input, or ends this process in time.
WATCH = """
import os, select, sys
process, seconds, line = sys.argv[1:]
if not select.select([sys.stdin], [], [], float(seconds))[0]:
    print(line, file=sys.stderr)
    os.kill(int(process), 9)
"""


@dataclass(frozen=True)
class Team:
    """The workers, as one of them sees them.

    Attributes:
        place: which of them this is.
        strategy: TensorFlow's.
    """

    place: meeting.Place
    strategy: tf.distribute.Strategy

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self.place.addresses)

    @property
    def replicas(self) -> int:
        """How many a worker has: its GPUs, or one."""
        return self.strategy.num_replicas_in_sync // self.workers

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of an array over the workers; float64, the same on all of them."""
        values = np.asarray(values, np.float64)
        if self.workers == 1:  # with several GPUs, TensorFlow refuses to sum what is no GPU's
            return values
        return self.strategy.reduce("SUM", tf.identity(values), axis=None).numpy()

    def from_chief(self, values: np.ndarray) -> np.ndarray:
        """The chief's values, float64; those of other workers matter only by their shape."""
        # a sum with -0.0 leaves every number as it is, 0.0 and -0.0, too
        return self.total(values if self.place.is_chief else np.full(np.shape(values), -0.0))

    def dealt(self, values: tf.Tensor) -> Any:
        """Entries of a tensor, dealt to the replicas of this worker."""
        return self.strategy.experimental_distribute_values_from_function(
            lambda of: values[of.replica_id_in_sync_group % self.replicas :: self.replicas]
        )

    def text_from_chief(self, text: str) -> str:
        """The chief's text."""
        own = np.frombuffer(text.encode(), np.uint8)
        length = int(self.from_chief(np.array(len(own))))
        told = self.from_chief(own if self.place.is_chief else np.zeros(length))
        return told.astype(np.uint8).tobytes().decode()


def join(features: Path, params: Params, recipe: Recipe) -> Team | None:
    """Waits for the other workers that the environment names, and connects to them. None: this process trains alone.

    To be called before TensorFlow computes anything.

    Args:
        features: folder of the features.
        params: of the experiment.
        recipe: as the parameters describe it.

    Raises:
        UserError: the environment is wrong, a worker does not come, or would train something else.
    """
    place = meeting.Place.of(os.environ)
    if place is None:
        return None
    given = pretrained_path(params.pretrained)
    described = {
        "parameters": f"{params.model} {params.width} {params.causal} {params.pretrained} {params.threads} {recipe}",
        "pretrained": sha256_of(given) if given and given.exists() else "",
        "features": " ".join(sha256_of(require_exists(features / name)) for name in SHARED),
        "code": training.code_digest(),
        "versions": f"TensorFlow {tf.__version__}, Keras {keras.__version__}, NumPy {np.__version__}",
        "number of GPUs": str(len(tf.config.list_physical_devices("GPU"))),
    }
    meeting.meet(place, described)
    return Team(place, connect(place))


def connect(place: meeting.Place) -> tf.distribute.Strategy:
    """TensorFlow's strategy for these workers, which have met.

    Raises:
        UserError: TensorFlow cannot connect them.
    """
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(place.addresses)}),
        task_type="worker",
        task_id=place.number,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    jobs = tf.compat.v1.ConfigProto().experimental.coordination_config.coordinated_job_list
    jobs.add(name="worker", num_tasks=len(place.addresses))
    context.context().configure_coordination_service(  # as the strategy does, but for its 10 s
        "standalone",
        service_leader="/job:worker/replica:0/task:0",
        coordinated_jobs=list(jobs),
        heartbeat_timeout_in_ms=1000 * HEARTBEAT_SECONDS,
    )
    line = f"error: TensorFlow did not connect the workers in {CONNECT_SECONDS} s: start all workers again"
    command = [sys.executable, "-c", WATCH, str(os.getpid()), str(CONNECT_SECONDS), line]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE):  # noqa: S603 (our own)
            strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except tf.errors.OpError as error:
        reason = error.message.partition("\n")[0]
        raise UserError(f"TensorFlow cannot connect the workers ({reason}): start all workers again") from None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # TensorFlow would catch it, and go on
    return strategy


@contextmanager
def scope(team: Team | None) -> Iterator[None]:
    """The network of a team is built inside, so that all workers have the chief's weights."""
    if team is None:
        yield
        return
    with team.strategy.scope():
        yield


def train_model(  # noqa: PLR0913 (as `training.train_model`)
    team: Team,
    model: keras.Model,
    features: Path,
    spec: FeatureSpec,
    *,
    recipe: Recipe,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    pretrained: bool = False,
) -> tuple[keras.Model, list[Epoch]]:
    """Trains as `training.train_model` does, with other workers.

    Args:
        team: the workers.
        model: as there, built in the `scope` of the team.
        features: folder of the TFRecords. A worker that is not the chief needs its own shards alone.
        spec: as there.
        recipe: as there; all workers together have `batch_size` clips a step.
        checkpoint: as there, of the chief; the others have none.
        on_epoch: as there.
        pretrained: as there.

    Returns:
        As there; the model has its best weights on the chief, and the last ones on the other workers.

    Raises:
        UserError: a worker has too few clips, or was lost.
    """
    try:
        return _train(
            team, model, features, spec, recipe=recipe, checkpoint=checkpoint, on_epoch=on_epoch, pretrained=pretrained
        )
    except LOST as error:
        raise UserError(_lost(team.place, str(error))) from None


def _lost(place: meeting.Place, message: str) -> str:
    """What to say of an error of TensorFlow's that means that a worker is gone."""
    named = {int(number) for number in re.findall(r"/task:(\d+)", message)} - {place.number}
    who = place.name(named.pop()) if len(named) == 1 else "another worker"
    reason = re.search(r"aborted by: (.*)", message)
    why = reason[1] if reason else message.partition("\n")[0]
    return f"{who} is gone ({why}): start all workers again; they go on after the last whole epoch"


def _train(  # noqa: PLR0913 (as `train_model`)
    team: Team,
    model: keras.Model,
    features: Path,
    spec: FeatureSpec,
    *,
    recipe: Recipe,
    checkpoint: Path | None,
    on_epoch: Callable[[Epoch], None],
    pretrained: bool,
) -> tuple[keras.Model, list[Epoch]]:
    part = _part(team, features, "train", spec, at_least=training.steps_of(spec, recipe) * team.replicas)
    with team.strategy.scope():
        average = training.prepare(model, spec, recipe)
    kept = training.interrupted_training(checkpoint) if checkpoint else None
    history = _go_on(team, model, average, kept)
    if not history and not pretrained:
        _normalize(team, model, training.unchanged_clips(features, "train", spec, recipe, part), part.clips)
    validation = training.unchanged_clips(
        features, "validation", spec, recipe, _part(team, features, "validation", spec, at_least=0)
    )
    augmenter = training.augmenter_of(features, spec, recipe.augmentation)
    step, answers = _step(team, model, spec.clips["train"] / training.steps_of(spec, recipe)), _answers(model)

    progress = training.Progress(recipe, history) if team.place.is_chief else None
    while not history or not training.is_finished(history, recipe):
        epoch = len(history) + 1
        _seed_dropout(team, model, recipe.seed, epoch)
        sums = tf.zeros(2, tf.float64)
        clips = training.smoothed_clips(features, spec, recipe, epoch, augmenter, part=part)
        for number, batch in enumerate(clips):
            sums += tf.add_n(team.strategy.experimental_local_results(step(batch)))
            average.on_train_batch_end(number)
        trained = _figures(team, sums.numpy(), spec.clips["train"])
        _require_equal(team, model, epoch)
        state = [variable.numpy() for variable in training.variables_of(model, average)]
        with average.in_place():
            sums = sum((answers(*batch) for batch in validation), tf.zeros(2, tf.float64))
            validated = _figures(team, sums.numpy(), spec.clips["validation"])
            history.append(training.curves_row(epoch, trained, validated))
            if checkpoint:
                kept = training.write_epoch(checkpoint, kept, model, state=state, history=history, recipe=recipe)
        on_epoch(history[-1])
        if progress:
            progress.show(history[-1])
    if progress:
        progress.close()
    print(f"worker {team.place.number} of {team.workers} ended with the weights {weights_digest(model)[:16]}")
    return (training.best_model(model, kept) if kept else model), history


def _part(team: Team, features: Path, split: str, spec: FeatureSpec, *, at_least: int) -> Part:
    """What this worker reads of a split.

    Raises:
        UserError: the workers together do not have all clips, or one has too few; the same on all workers.
    """
    part = Part.of(features, split, team.place.number, team.workers)
    clips = team.total(np.eye(team.workers)[team.place.number] * part.clips).astype(int)
    if clips.sum() != spec.clips[split]:
        raise UserError(
            f"the workers hold {clips.sum()} clips of split {split} instead of {spec.clips[split]}: worker n of "
            f"{team.workers} needs every {team.workers}th file {split}-*.tfrecord of {features}, from number n on"
        )
    if clips.min() < at_least:
        raise UserError(
            f"{team.place.name(int(clips.argmin()))} has {clips.min()} clips of split {split}, fewer than the "
            f"{at_least} steps of an epoch: use fewer workers, or a larger batch_size"
        )
    return part


def _go_on(team: Team, model: keras.Model, average: training.WeightAverage, kept: Path | None) -> list[Epoch]:
    """Takes up the training where the chief has kept it; the curves so far."""
    history: list[Epoch] = []
    variables = training.variables_of(model, average)
    state = [variable.numpy() for variable in variables]
    if kept:
        history, state = training.read_epoch(kept)
    history = json.loads(team.text_from_chief(json.dumps(history)))
    if history:
        flat = team.from_chief(np.concatenate([np.ravel(value).astype(np.float64) for value in state]))
        ends = np.cumsum([np.size(value) for value in state])[:-1]
        parts = zip(np.split(flat, ends), state, strict=True)
        training.restore(variables, [part.reshape(np.shape(old)).astype(old.dtype) for part, old in parts])
        model.get_layer("normalization").finalize_state()
    return history


def _normalize(team: Team, model: keras.Model, clips: tf.data.Dataset, number: int) -> None:
    """Adapts the input's Normalization to the training clips of all workers."""
    layer = model.get_layer("normalization")
    own = type(layer).from_config(layer.get_config())
    own.adapt(clips.map(lambda log_mel, _: log_mel))
    mean, variance, count = (weight.numpy() for weight in own.weights)
    mean = mean.astype(np.float64)
    sums = team.total(number * np.stack([mean, variance + mean**2, np.ones_like(mean)]))
    mean, square = sums[:2] / sums[2]
    layer.set_weights([mean, square - mean**2, count])
    layer.finalize_state()


def _seed_dropout(team: Team, model: keras.Model, seed: int, epoch: int) -> None:
    """As `training.seed_dropout`, of each replica."""
    for replica in range(team.replicas):
        numbered = team.place.number * team.replicas + replica
        for state, drawn in training.dropout_seeds(model, seed, epoch, numbered):
            team.strategy.experimental_local_results(state.value)[replica].assign(drawn)


def _step(team: Team, model: keras.Model, clips: float) -> Callable[[tuple[tf.Tensor, tf.Tensor]], Any]:
    """What trains on a batch of this worker's clips: sum of the losses, number of right answers, of each replica.

    Args:
        team: the workers.
        model: to train.
        clips: how many of them a step has, all workers together, on average over an epoch: each counts alike.
    """
    optimizer, trainable = model.optimizer, model.trainable_variables
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.Normalization)]
    moving = [weight.value for layer in layers for weight in layer.non_trainable_weights]  # of batch normalisation

    def train(log_mel: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(log_mel, training=True)
            losses = keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
            loss = tf.reduce_sum(losses) / clips
        gradients = tape.gradient(loss, trainable)
        optimizer.apply_gradients(zip(gradients, trainable, strict=True))  # sums them over the replicas
        if moving:  # each replica has the statistics of its own clips: their average is everybody's
            averages = tf.distribute.get_replica_context().all_reduce("MEAN", [tf.identity(value) for value in moving])
            for value, mean in zip(moving, averages, strict=True):
                value.assign(mean)
        return _sums(losses, logits, labels)

    @tf.function  # type: ignore[untyped-decorator]
    def run(log_mel: Any, labels: Any) -> Any:
        return team.strategy.run(train, args=(log_mel, labels))

    def step(batch: tuple[tf.Tensor, tf.Tensor]) -> Any:
        return run(*(team.dealt(values) for values in batch))

    return step


def _answers(model: keras.Model) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """What sums the losses and the right answers of a batch, without training."""

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def answers(log_mel: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = model(log_mel, training=False)
        return _sums(keras.losses.categorical_crossentropy(labels, logits, from_logits=True), logits, labels)

    return answers


def _sums(losses: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    right = tf.argmax(logits, axis=1) == tf.argmax(labels, axis=1)
    return tf.stack([tf.reduce_sum(tf.cast(values, tf.float64)) for values in (losses, right)])


def _figures(team: Team, sums: np.ndarray, clips: int) -> Mapping[str, float]:
    """Loss and accuracy over the clips of all workers."""
    loss, accuracy = team.total(sums) / clips
    return {"loss": float(loss), "accuracy": float(accuracy)}


def weights_digest(model: keras.Model) -> str:
    """SHA-256 of the weights, in hex digits. What dropout is drawn from is not among them: it is each replica's own."""
    digest = hashlib.sha256()
    for layer in model.layers:
        for weight in layer.weights:
            digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _require_equal(team: Team, model: keras.Model, epoch: int) -> None:
    """Raises a UserError if the workers' weights are not the same, as after a fault of a machine's memory."""
    own = int(weights_digest(model)[:8], 16)
    differ = team.total(np.eye(team.workers)[team.place.number] * (own - int(team.from_chief(np.array(own)))))
    if differ.any():
        names = ", ".join(team.place.name(int(number)) for number in np.flatnonzero(differ))
        raise UserError(
            f"after epoch {epoch} the weights of {names} are not those of worker 0: start all workers again; if it "
            f"happens again, leave that machine out"
        )
