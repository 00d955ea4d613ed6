"""How good a head on a pretrained body is with a few takes a word: draws of takes, accuracy, rejection of other words.

A draw takes some people at random: each says each word once, and everybody else is asked. So much depends on who says
the takes that one draw tells little: the figures are means over draws, with intervals over draws and people.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from kws.evaluate.metrics import Interval

FALSE_REJECTION = 0.05  # of the words' own clips, where the rejection of other words is measured
PROBABILITY = "probability"  # the rule of the networks that stage train writes
RESAMPLES = 1000  # of draws and people


@dataclass(frozen=True)
class Asked:
    """What a head makes of clips that one draw asks.

    Attributes:
        people: (clips,), who speaks.
        correct: bool (clips,), whether the word is the right one.
        scores: how much a clip is like one of the words, by each rule, (clips,) each.
        other_people: (others,), who says the other words.
        other_scores: likewise, of clips of other words.
    """

    people: np.ndarray
    correct: np.ndarray
    scores: Mapping[str, np.ndarray]
    other_people: np.ndarray
    other_scores: Mapping[str, np.ndarray]


def draw_takes(labels: np.ndarray, people: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of takes, (words, takes): each take of a word is of another person, by one lot for all words.

    The first columns are the draw of fewer takes. There are as many columns as people say the rarest word, and at most
    `most`.

    Args:
        labels: (clips,), which word; all words from 0 to the largest are there.
        people: (clips,), who speaks.
        most: takes of a word.
        rng: draws the people, and which of their clips.
    """
    names, person = np.unique(people, return_inverse=True)
    place, lot = rng.permutation(len(names))[person], rng.permutation(len(labels))
    taken = []
    for word in range(labels.max() + 1):
        said = np.flatnonzero(labels == word)
        said = said[np.lexsort((lot[said], place[said]))]
        _, first = np.unique(place[said], return_index=True)
        taken.append(said[first][:most])
    return np.array([some[: min(map(len, taken))] for some in taken])


def word_means(embeddings: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The direction of each word's mean embedding, (words, units), of length 1.

    Args:
        embeddings: (clips, units), of what the head was fitted to.
        labels: (clips,), which word.
        weights: (clips,), how much each counts.
    """
    means = np.stack([weights[some] @ embeddings[some] for some in (labels == word for word in np.unique(labels))])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def word_scores(
    embeddings: np.ndarray, logits: np.ndarray, words: np.ndarray, means: np.ndarray
) -> dict[str, np.ndarray]:
    """How much clips are like one of the words, by each rule.

    Args:
        embeddings: (clips, units), as the network gives them. Centred or standardised, the distance tells much less.
        logits: (clips, classes).
        words: bool (classes,), which classes are words.
        means: (words, units), as `word_means` gives them.

    Returns:
        `probability`: the largest one of a word, by which the network of an experiment rejects. `logit`: the largest
        one, which tells more (Vaze et al., 2022, arXiv:2110.06207). `distance`: the cosine to the nearest mean of a
        word's clips.
    """
    lengths = np.linalg.norm(embeddings, axis=1)
    cosine = (embeddings @ means.T).max(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return {
        PROBABILITY: softmax(logits, axis=1)[:, words].max(axis=1),
        "logit": logits[:, words].max(axis=1),
        "distance": cosine,
    }


def accuracy(draws: Sequence[Asked]) -> tuple[float, Interval]:
    """The share of the words' clips that is right: the mean over the draws, and its 95 % interval."""

    def shares(asked: Asked, weights: np.ndarray, _: np.ndarray) -> np.ndarray:
        return weights @ asked.correct / weights.sum(axis=1)

    return _over_draws(draws, shares)


def rejection(draws: Sequence[Asked], rule: str) -> tuple[float, Interval]:
    """The share of other words' clips that is rejected where `FALSE_REJECTION` of the words' own clips are.

    The threshold is that of each draw, and, within the interval, of each resample.
    """

    def shares(asked: Asked, weights: np.ndarray, other_weights: np.ndarray) -> np.ndarray:
        order = np.argsort(asked.scores[rule], kind="stable")
        cumulated = weights[:, order].cumsum(axis=1)
        first = (cumulated <= FALSE_REJECTION * cumulated[:, -1:]).sum(axis=1)  # the first clip that is accepted
        thresholds = asked.scores[rule][order][np.minimum(first, len(order) - 1)]
        other_order = np.argsort(asked.other_scores[rule], kind="stable")
        below = np.searchsorted(asked.other_scores[rule][other_order], thresholds)
        cumulated = np.pad(other_weights[:, other_order].cumsum(axis=1), ((0, 0), (1, 0)))
        return cumulated[np.arange(len(below)), below] / cumulated[:, -1]

    return _over_draws(draws, shares)


def best_rule(draws: Sequence[Asked]) -> str:
    """The rule that rejects most other words, on clips that choose."""
    return max(draws[0].scores, key=lambda rule: rejection(draws, rule)[0])


def _over_draws(
    draws: Sequence[Asked], shares: Callable[[Asked, np.ndarray, np.ndarray], np.ndarray]
) -> tuple[float, Interval]:
    """The mean of a share over draws, and a 95 % interval by the bootstrap, over draws and over people.

    A draw is drawn anew, as it is. A person has the same weight in all draws, since these ask nearly the same people
    (the Bayesian bootstrap of Rubin, 1981: everybody has some weight, so that a word is never without a clip).

    Args:
        draws: at least one.
        shares: of a draw: with the weights of its clips (resamples, clips), and of its clips of other words.
    """
    rng = np.random.default_rng(1)
    names = np.unique(np.concatenate([who for one in draws for who in _people(one)]))
    weights = rng.standard_exponential((RESAMPLES, len(names)))  # of each person, the same in all draws
    whole = np.mean([shares(one, *(np.ones((1, len(who))) for who in _people(one)))[0] for one in draws])
    times = rng.multinomial(len(draws), np.full(len(draws), 1 / len(draws)), RESAMPLES)  # each draw, in each resample
    total = np.zeros(RESAMPLES)
    for one, number in zip(draws, times.T, strict=True):
        total += number * shares(one, *(weights[:, np.searchsorted(names, who)] for who in _people(one)))
    low, high = np.quantile(total / len(draws), [0.025, 0.975])
    return float(whole), Interval(float(low), float(high))


def _people(asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    return asked.people, asked.other_people
