"""Who is understood worst, and which noise is hardest: what the explorer lists."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kws.evaluate.answers import Answers
from kws.evaluate.metrics import FEWEST_CLIPS
from kws.evaluate.noise_sweep import ALL
from kws.recordings.background import is_nobody

PEOPLE = 5  # to list
CLIPS_OF_ONE = 10  # of a person, that can be heard
SNR_DB = 0  # at which noises are compared: as loud as the words


class Person(NamedTuple):
    """Somebody in the test: how many of their clips are understood, out of how many."""

    speaker: str
    right: int
    clips: int


class Noise(NamedTuple):
    """A background recording, and the accuracy on the clips that were heard in it."""

    name: str
    accuracy: float


def worst_people(answers: Answers) -> list[Person]:
    """The people with the lowest accuracy, at most PEOPLE; those of whose clips all are understood are not among them.

    Args:
        answers: to all test clips; silence that kws made is nobody's, and computed voices are no people.
    """
    answers = answers.subset(np.flatnonzero(~answers.computed))
    speakers, person, clips = np.unique(answers.speakers, return_inverse=True, return_counts=True)
    right = np.bincount(person, weights=answers.correct).astype(int)
    people = [Person(*values) for values in zip(speakers.tolist(), right.tolist(), clips.tolist(), strict=True)]
    hard = [one for one in people if one.clips >= FEWEST_CLIPS and one.right < one.clips and not is_nobody(one.speaker)]
    return sorted(hard, key=lambda one: (one.right / one.clips, -one.clips, one.speaker))[:PEOPLE]


def clips_of(people: Sequence[Person], answers: Answers) -> np.ndarray:
    """Positions of clips of these people, at most CLIPS_OF_ONE each: first the mistakes, the most confident first."""
    wrong = answers.predicted != answers.labels
    order = np.lexsort((-answers.confidence, ~wrong))
    chosen = [order[answers.speakers[order] == one.speaker][:CLIPS_OF_ONE] for one in people]
    return np.concatenate([np.zeros(0, int), *chosen])


def worst_noise(rows: Iterable[Mapping[str, str]]) -> list[Noise]:
    """The backgrounds at SNR_DB, the hardest first.

    Args:
        rows: of noise.csv, which evaluate wrote.
    """
    noises = [row for row in rows if row["noise"] != ALL and float(row["snr_db"]) == SNR_DB]
    return sorted((Noise(row["noise"], float(row["accuracy"])) for row in noises), key=lambda one: one[::-1])
