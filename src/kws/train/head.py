"""The last layer alone: with a few clips a word, a network learns the words, and no more how words sound.

The other layers keep the weights of a network that has heard many words (parameter `pretrained`). On what they give,
the embedding, the last layer is a regularised logistic regression.
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
from kws.core.naming import SILENCE, UNKNOWN, is_computed
from kws.records.read import read_split
from kws.records.spec import FeatureSpec
from kws.train.models import LOGITS, embedding_and_probabilities
from kws.train.training import Epoch, Recipe, augmented_clips, augmenter_of

FEW = 100  # recordings a word: with fewer, the last layer alone is trained
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


def recordings_a_word(manifest: Path, spec: FeatureSpec) -> float:
    """How many usable training clips an average word has; other words, silence and computed voices do not count.

    However many computed voices say a word, they tell little of how people say it.
    """
    words = set(spec.classes) - {UNKNOWN, SILENCE}
    recordings = sum(
        (row["split"], row["status"]) == ("train", "ok") and row["class"] in words and not is_computed(row["name"])
        for row in csv_rows(manifest)
    )
    return recordings / len(words)


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
            names=np.char.decode(batch["name"].numpy().astype(bytes)),
            people=np.char.decode(batch["speaker"].numpy().astype(bytes)),
            labels=batch["label"].numpy(),
            embeddings=embed(batch["log_mel"])[0],
        )
        for batch in batches
    )


def clip_weights(names: np.ndarray) -> np.ndarray:
    """How much each clip counts, (clips,): recordings 1, and all computed voices as much as all recordings beside them.

    However many computed voices there are, they do not outweigh a few recordings, which sound as people do.
    """
    computed = np.array([is_computed(name) for name in names], bool)
    beside = computed.any() and not computed.all()
    return np.where(computed, (~computed).sum() / computed.sum(), 1.0) if beside else np.ones(len(names))


def with_copies(clips: Embedded, copies: Embedded) -> tuple[Embedded, np.ndarray]:
    """Clips and their copies, and how much each counts: a clip and its copies together as much as the clip alone."""
    both = type(clips).joined([clips, copies])
    names, clip, times = np.unique(both.names, return_inverse=True, return_counts=True)
    weight = dict(zip(clips.names, clip_weights(clips.names), strict=True))
    return both, np.array([weight[name] for name in names])[clip] / times[clip]


def fit_head(clips: Embedded, copies: Embedded) -> tuple[np.ndarray, float]:
    """A regularised logistic regression on the embedding, as weights for the last layer.

    It is fitted to embeddings of length 1, so that all clips count alike, and has no bias: which class a clip is then
    depends on the direction of its embedding alone. The weights are for embeddings of any length. A short one gives
    small logits, and a low probability: it holds little that sounds like a word.

    Args:
        clips: as they are; every class has one. The strength is the one with the highest likelihood for people that a
            fold has not heard.
        copies: augmented ones of them.

    Returns:
        weights (units, classes), float32, and the strength C. A class that has no clip has no column.
    """
    heard, weights = with_copies(clips, copies)
    with threadpool_limits(BLAS_THREADS):  # another number of threads gives other last digits
        strength = _strength(clips)
        slope = _fitted(strength, heard, weights).coef_
    if len(slope) == 1:  # of two classes: the logit of the second one
        slope = np.concatenate([-slope / 2, slope / 2])
    columns = slope.T / np.linalg.norm(heard.embeddings, axis=1).mean()
    return columns.astype(np.float32), strength


def _directions(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings of length 1."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)


def _fitted(strength: float, clips: Embedded, weights: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    return model.fit(_directions(clips.embeddings), clips.labels, weights)


def _strength(clips: Embedded) -> float:
    """The strength with the highest likelihood in folds over people; the usual one, if only one says a word."""
    from sklearn.model_selection import StratifiedGroupKFold

    people, labels = clips.people, clips.labels
    number = min(FOLDS, *(len(set(people[labels == label])) for label in np.unique(labels)))
    if number < 2:
        return USUAL_STRENGTH
    weights = clip_weights(clips.names)
    folds = list(StratifiedGroupKFold(number).split(labels, labels, people))

    def likelihood(strength: float) -> float:
        fits = (_fitted(strength, clips.subset(fit), weights[fit]) for fit, _ in folds)
        return sum(
            _likelihood(fit, clips.subset(asked), weights[asked]) for fit, (_, asked) in zip(fits, folds, strict=True)
        )

    return max(STRENGTHS, key=likelihood)


def _likelihood(fitted: Any, asked: Embedded, weights: np.ndarray) -> float:
    """The sum of the logarithms of the right classes' probabilities, over clips of classes that were heard."""
    known = np.isin(asked.labels, fitted.classes_)
    logarithms = fitted.predict_log_proba(_directions(asked.embeddings[known]))
    right = logarithms[np.arange(known.sum()), np.searchsorted(fitted.classes_, asked.labels[known])]
    return float(weights[known] @ right)


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
    weights, strength = fit_head(clips, embedded_copies(embed, features, spec, recipe))
    logits_layer = model.get_layer(LOGITS)
    bias = [np.zeros(weights.shape[1], np.float32)] if logits_layer.use_bias else []
    logits_layer.set_weights([weights, *bias])
    row: Epoch = {"epoch": 1}
    for name, asked in (("train", clips), ("validation", embedded_clips(embed, features, "validation", spec))):
        logits = tf.constant(asked.embeddings @ weights)
        loss = keras.losses.sparse_categorical_crossentropy(asked.labels, logits, from_logits=True)
        row[f"{name}_loss"] = round(float(np.mean(loss)), 6)
        row[f"{name}_accuracy"] = round(float((np.argmax(logits, axis=1) == asked.labels).mean()), 6)
    return row, strength
