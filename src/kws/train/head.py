"""The last layer alone: with a few clips a word, a network learns the words, and no more how words sound.

The other layers keep the weights of a network that has heard many words (parameter `pretrained`). On what they give,
the embedding, the last layer is a regularised logistic regression: with few clips it is better than training all layers
(docs/few-recordings.md has the figures).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits

from kws.audio.frontend import BLAS_THREADS
from kws.core.files import csv_rows
from kws.core.params import SILENCE, UNKNOWN
from kws.records.read import read_split
from kws.records.spec import FeatureSpec
from kws.train.models import LOGITS, embedding_and_probabilities
from kws.train.training import Epoch, Recipe, augmented_clips, augmenter_of

FEW = 30  # clips a word: with fewer, the last layer alone is trained
BATCH = 64
COPIES = 4  # augmented ones of each clip, beside the clip itself
STRENGTHS = (1.0, 3.0, 10.0, 30.0)  # C of scikit-learn: the smaller, the more regular
USUAL_STRENGTH = 10.0  # where nothing can be chosen, since only one person says a word
FOLDS = 5

Embedding = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # as `embedding_and_probabilities` gives it


@dataclass(frozen=True)
class Embedded:
    """Clips as the embedding has them, one entry a clip.

    Attributes:
        names: of the clips.
        people: who speaks.
        labels: index of the class; int64 (clips,).
        embeddings: float32 (clips, units).
    """

    names: np.ndarray
    people: np.ndarray
    labels: np.ndarray
    embeddings: np.ndarray

    def subset(self, some: np.ndarray) -> Self:
        """Some of the clips: positions, or bool (clips,)."""
        return type(self)(**{name: values[some] for name, values in vars(self).items()})

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """All clips of these parts."""
        parts = list(parts)
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def clips_a_word(manifest: Path, spec: FeatureSpec) -> float:
    """How many usable training clips an average word has; other words and silence do not count."""
    words = set(spec.classes) - {UNKNOWN, SILENCE}
    clips = sum(
        (row["split"], row["status"]) == ("train", "ok") and row["class"] in words for row in csv_rows(manifest)
    )
    return clips / len(words)


def embedded_clips(embed: Embedding, features: Path, split: str, spec: FeatureSpec) -> Embedded:
    """The clips of a split, as they are; `embed` is what `embedding_and_probabilities` gives."""
    return _embedded(embed, read_split(features, split, spec, BATCH))


def embedded_copies(
    embed: Embedding, features: Path, spec: FeatureSpec, recipe: Recipe, split: str = "train"
) -> Embedded:
    """`COPIES` augmented copies of each clip, by the recipe, without mixtures of clips.

    Args:
        embed: as of `embedded_clips`.
        features: folder of the TFRecords.
        spec: the feature spec.
        recipe: its augmentation makes the copies.
        split: train; with front end `log_mel` also another one.
    """
    augmenter = augmenter_of(features, spec, replace(recipe.augmentation, mixup=0.0, spliced=0.0))
    return Embedded.joined(
        _embedded(embed, augmented_clips(features, spec, recipe, epoch, augmenter, split=split))
        for epoch in range(1, COPIES + 1)
    )


def _embedded(embed: Embedding, batches: tf.data.Dataset) -> Embedded:
    """What the embedding gives for batches of {"log_mel", "label", "name", "speaker"}."""
    return Embedded.joined(
        Embedded(
            names=batch["name"].numpy().astype(str),
            people=batch["speaker"].numpy().astype(str),
            labels=batch["label"].numpy(),
            embeddings=embed(batch["log_mel"])[0],
        )
        for batch in batches
    )


def fit_head(embeddings: np.ndarray, labels: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """A regularised logistic regression on the embedding, as weights for the last layer.

    It is fitted to embeddings of length 1, so that all clips count alike, and has no bias: which class a clip is then
    depends on the direction of its embedding alone. The weights are for embeddings of any length. A short one gives
    small logits, and a low probability: it holds little that sounds like a word.

    Args:
        embeddings: (clips, units).
        labels: (clips,), indices of classes; every class has a clip.
        people: (clips,), who speaks. The strength is the one with the highest likelihood for people that a fold has not
            heard.

    Returns:
        weights (units, classes) and bias (classes,), 0, both float32, and the strength C.
    """
    from sklearn.linear_model import LogisticRegression

    lengths = np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    directions = embeddings / lengths

    def fitted(strength: float, some: np.ndarray) -> LogisticRegression:
        model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
        return model.fit(directions[some], labels[some])

    with threadpool_limits(BLAS_THREADS):  # another number of threads gives other last digits
        strength = USUAL_STRENGTH
        if folds := _folds(labels, people):
            strength = max(
                STRENGTHS, key=lambda one: sum(_likelihood(fitted(one, a), directions, labels, b) for a, b in folds)
            )
        slope = fitted(strength, np.arange(len(labels))).coef_
    if len(slope) == 1:  # of two classes: the logit of the second one
        slope = np.concatenate([-slope / 2, slope / 2])
    weights = slope.T / lengths.mean()
    return weights.astype(np.float32), np.zeros(len(slope), np.float32), strength


def _folds(labels: np.ndarray, people: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions of clips to fit and to ask, for each fold; nobody is in both. None: one person says all of a class."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(FOLDS, *(len(set(people[labels == label])) for label in np.unique(labels)))
    if folds < 2:
        return []
    return list(StratifiedGroupKFold(folds).split(labels, labels, people))


def _likelihood(fitted: Any, directions: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> float:
    """The sum of the logarithms of the right classes' probabilities, over clips of classes that were heard."""
    known = asked[np.isin(labels[asked], fitted.classes_)]
    logarithms = fitted.predict_log_proba(directions[known])
    return float(logarithms[np.arange(len(known)), np.searchsorted(fitted.classes_, labels[known])].sum())


def train_head(model: keras.Model, features: Path, spec: FeatureSpec, recipe: Recipe) -> tuple[Epoch, float]:
    """Fits the last layer on the training clips and augmented copies of them. All other layers stay as they are.

    Args:
        model: pretrained; its last layer is changed.
        features: folder of the TFRecords.
        spec: the feature spec.
        recipe: its augmentation makes the copies.

    Returns:
        The figures, as one epoch of the curves, and the strength C that was chosen.
    """
    embed = embedding_and_probabilities(model)
    clips = embedded_clips(embed, features, "train", spec)
    heard = Embedded.joined([clips, embedded_copies(embed, features, spec, recipe)])
    weights, bias, strength = fit_head(heard.embeddings, heard.labels, heard.people)
    model.get_layer(LOGITS).set_weights([weights, bias])
    row: Epoch = {"epoch": 1}
    for name, asked in (("train", clips), ("validation", embedded_clips(embed, features, "validation", spec))):
        logits = tf.constant(asked.embeddings @ weights + bias)
        loss = keras.losses.sparse_categorical_crossentropy(asked.labels, logits, from_logits=True)
        row[f"{name}_loss"] = round(float(np.mean(loss)), 6)
        row[f"{name}_accuracy"] = round(float((np.argmax(logits, axis=1) == asked.labels).mean()), 6)
    return row, strength
