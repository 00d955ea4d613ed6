"""Compares losses for training the embedding, by words that it has never heard. People of validation choose.

    python benchmarks/embedding_losses.py EMBEDDING WORDS

EMBEDDING and WORDS are checkouts in which `make embedding` and `make few` have made their features; words and voices
may be fewer. Writes benchmarks/embedding_losses.csv.

Softmax is what stage train uses. ArcFace (Deng et al., 2019, arXiv:1801.07698) wants an angle between words. Triplets
(Hermans et al., 2017, arXiv:1703.07737, "batch hard") compare clips, in batches of some clips of each word.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kws.core.files import write_csv
from kws.core.params import Params, read_yaml
from kws.evaluate.few import draw_takes
from kws.records.spec import FeatureSpec
from kws.train import head, models, networks, training

TABLE = Path(__file__).with_suffix(".csv")
COLUMNS = ("loss", "words", "epochs", "takes", "draws", "clips", "validation_accuracy")
EPOCHS, TAKES, DRAWS = 10, (1, 3, 5), 20
SCALE, MARGIN = 16.0, 0.2  # of ArcFace; the paper's 64 and 0.5 are for faces, and do not converge here
TRIPLET_MARGIN, CLIPS_A_WORD = 0.3, 4

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Cosines(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """The cosine between the embedding and a direction for each word."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self._words = words

    def build(self, shape: tuple[int, ...]) -> None:
        """Makes the directions."""
        self.directions = self.add_weight(shape=(shape[-1], self._words), initializer="glorot_uniform")

    def call(self, embedding: tf.Tensor) -> tf.Tensor:
        """(clips, units) -> (clips, words)."""
        return tf.linalg.l2_normalize(embedding, axis=1) @ tf.linalg.l2_normalize(self.directions, axis=0)


def arcface(labels: tf.Tensor, cosines: tf.Tensor) -> tf.Tensor:
    """Cross-entropy, where the angle to the right word counts as larger by the margin."""
    angle = tf.acos(tf.clip_by_value(cosines, -1 + 1e-6, 1 - 1e-6))
    logits = SCALE * tf.where(labels > 0.5, tf.cos(angle + MARGIN), cosines)
    return tf.nn.softmax_cross_entropy_with_logits(labels, logits)


def triplets(labels: tf.Tensor, embedding: tf.Tensor) -> tf.Tensor:
    """Of each clip: the farthest one of its word must be nearer than the nearest one of another word."""
    word = tf.argmax(labels, axis=1)
    same = tf.equal(word[:, tf.newaxis], word[tf.newaxis])
    direction = tf.linalg.l2_normalize(embedding, axis=1)
    distance = 1 - direction @ tf.transpose(direction)
    farthest = tf.reduce_max(tf.where(same, distance, 0.0), axis=1)
    nearest = tf.reduce_min(tf.where(same, 2.0, distance), axis=1)
    return tf.nn.softplus((farthest - nearest + TRIPLET_MARGIN) / TRIPLET_MARGIN)


def losses(network: keras.Model, words: int) -> dict[str, tuple[keras.Model, Loss]]:
    """The outputs that each loss is of, and the loss."""
    embedding = network.get_layer(models.EMBEDDING).output
    softmax = keras.losses.CategoricalCrossentropy(from_logits=True)
    return {
        "softmax": (network, softmax),
        "ArcFace": (keras.Model(network.inputs, Cosines(words)(embedding)), arcface),
        "triplets": (keras.Model(network.inputs, embedding), triplets),
    }


def grouped(clips: tf.data.Dataset, batch: int) -> tf.data.Dataset:
    """Batches that hold several clips of each word, of clips in any order."""
    groups = clips.unbatch().group_by_window(
        lambda _, labels: tf.argmax(labels),
        lambda _, some: some.batch(CLIPS_A_WORD, drop_remainder=True),
        CLIPS_A_WORD,
    )
    return groups.unbatch().batch(batch, drop_remainder=True)


def trained(project: Path, loss: str) -> keras.Model:
    """The network, trained with a loss; log-Mel -> logits, of which only the embedding is of use."""
    params = Params(**read_yaml(project / "params.yaml"))
    training.make_deterministic(params.seed, params.threads)
    features, spec = project / "data/features", FeatureSpec.read(project / "data/features/spec.json")
    network = networks.NETWORKS[params.model](
        spec.front_end.frames, spec.front_end.mel_bins, len(spec.classes), params.width, causal=params.causal
    )
    recipe = training.Recipe.from_params(params)
    augmenter = training.augmenter_of(features, spec, recipe.augmentation)
    plain = training.augmented_clips(features, spec, recipe, 1, augmenter).map(lambda batch: batch["log_mel"])
    network.get_layer("normalization").adapt(plain)
    model, function = losses(network, len(spec.classes))[loss]
    steps = EPOCHS * (spec.clips["train"] // recipe.batch_size)
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                0.0, steps, warmup_target=recipe.learning_rate, warmup_steps=steps // EPOCHS
            ),
            weight_decay=recipe.weight_decay,
        ),
        loss=function,
    )
    for epoch in range(1, EPOCHS + 1):
        clips = training.augmented_clips(features, spec, recipe, epoch, augmenter)
        clips = clips.map(lambda batch: (batch["log_mel"], batch["labels"]))
        clips = grouped(clips, recipe.batch_size) if loss == "triplets" else clips
        told = model.fit(clips.prefetch(2), verbose=0).history
        print(f"{loss}: epoch {epoch} of {EPOCHS}, loss {told['loss'][0]:.3f}", flush=True)
    return network


def accuracy(network: keras.Model, project: Path, takes: int) -> tuple[float, int]:
    """Mean accuracy over draws of takes, among people of validation, and the clips that a draw asks."""
    spec = FeatureSpec.read(project / "data/features/spec.json")
    embed = models.embedding_and_probabilities(network)
    clips = head.embedded_clips(embed, project / "data/features", "validation", spec)
    right, asked_clips = [], []
    for seed in range(DRAWS):
        taken = draw_takes(clips.labels, clips.people, takes, np.random.default_rng(seed)).ravel()
        heard = clips.subset(taken)
        weights, _ = head.fit_head(heard, heard)
        asked = clips.subset(~np.isin(clips.people, heard.people))
        right.append(((asked.embeddings @ weights).argmax(axis=1) == asked.labels).mean())
        asked_clips.append(len(asked.labels))
    return float(np.mean(right)), round(np.mean(asked_clips))


def main() -> None:
    """Trains with each loss, and asks people of validation."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("embedding", type=Path)
    options.add_argument("words", type=Path)
    asked = options.parse_args()
    heard = len(FeatureSpec.read(asked.embedding / "data/features/spec.json").classes)
    rows = []
    for loss in ("softmax", "ArcFace", "triplets"):
        network = trained(asked.embedding, loss)
        for takes in TAKES:
            right, clips = accuracy(network, asked.words, takes)
            rows.append({"loss": loss, "words": heard, "epochs": EPOCHS, "takes": takes, "draws": DRAWS})
            rows[-1] |= {"clips": clips, "validation_accuracy": round(right, 4)}
            print(rows[-1], flush=True)
        write_csv(TABLE, rows, COLUMNS)


if __name__ == "__main__":
    main()
