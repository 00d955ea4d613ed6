"""How good a head on a pretrained body is with a few takes a word: draws of takes, accuracy, rejection of other words.

A draw takes some people at random: each says each word once, and everybody else is asked. So much depends on who says
the takes that one draw tells little: the figures are means over draws, with intervals over draws and people.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kws.evaluate.metrics import Interval

FALSE_REJECTION = 0.05  # of the words' own clips, where the rejection of other words is measured
RESAMPLES = 1000  # of draws, and of the people within each


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


def word_scores(
    embeddings: np.ndarray, logits: np.ndarray, heard: np.ndarray, heard_labels: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """How much clips are like one of the words, by each rule.

    Args:
        embeddings: (clips, units), as the network gives them. Centred or standardised, the distance tells much less.
        logits: (clips, words), of the words alone.
        heard: (heard clips, units), what the head was fitted to.
        heard_labels: (heard clips,), which word.
        weights: (heard clips,), how much each counts.

    Returns:
        `logit`: the largest one, which tells more than the largest probability (Vaze et al., 2022, arXiv:2110.06207).
        `distance`: the cosine to the nearest mean of a word's clips. `both`: their sum, each as a share of its spread
        over all clips.
    """
    middles = np.stack(
        [weights[some] @ heard[some] for some in (heard_labels == word for word in np.unique(heard_labels))]
    )
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    lengths = np.linalg.norm(embeddings, axis=1)
    cosine = (embeddings @ middles.T).max(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    logit = logits.max(axis=1)
    return {"logit": logit, "distance": cosine, "both": logit / logit.std() + cosine / cosine.std()}


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
    """The mean of a share over draws, and a 95 % interval by the bootstrap: draws, and people within each draw.

    Args:
        draws: at least one.
        shares: of a draw: with the weights of its clips (resamples, clips), and of its clips of other words.
    """
    rng = np.random.default_rng(1)
    whole = np.mean([shares(one, *(np.ones((1, len(who))) for who in _people(one)))[0] for one in draws])
    times = rng.multinomial(len(draws), np.full(len(draws), 1 / len(draws)), RESAMPLES)  # each draw, in each resample
    total = np.zeros(RESAMPLES)
    for one, number in zip(draws, times.T, strict=True):
        total += number * shares(one, *(_resampled(who, rng) for who in _people(one)))
    low, high = np.quantile(total / len(draws), [0.025, 0.975])
    return float(whole), Interval(float(low), float(high))


def _resampled(people: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each clip is in a resample of the people, (resamples, clips)."""
    names, person = np.unique(people, return_inverse=True)
    return rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)[:, person]


def _people(asked: Asked) -> tuple[np.ndarray, np.ndarray]:
    return asked.people, asked.other_people
