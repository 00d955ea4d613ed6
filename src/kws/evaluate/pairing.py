"""Two networks asked about the same clips of validation or test: is one better?"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from kws.core.errors import UserError
from kws.evaluate import metrics
from kws.evaluate.answers import read_answers


@dataclass(frozen=True)
class Answered:
    """Clips of validation or test: names, speakers, and bool, whether the answer is right; (clips,) each."""

    names: np.ndarray
    speakers: np.ndarray
    correct: np.ndarray


def read_answered(file: Path | IO[bytes]) -> Answered:
    """What a network made of its clips, by name: of a file that evaluate writes."""
    answers, classes, _ = read_answers(file)
    # with their classes: two experiments may call one recording a word and `_unknown_`
    order = np.argsort(answers.names, kind="stable")
    names = np.char.add(np.char.add(answers.names, " "), np.array(classes)[answers.labels])
    return Answered(names[order], answers.speakers[order], (answers.labels == answers.predicted)[order])


def anonymous(answered: Answered) -> Answered:
    """The same clips, with hashes for names and numbers for speakers. The paired test of two such gives the same."""
    names = [hashlib.sha256(name.encode()).hexdigest()[:16] for name in answered.names]
    _, speakers = np.unique(answered.speakers, return_inverse=True)
    return Answered(np.array(names), speakers, answered.correct)


def write_anonymous(path: Path, answered: Answered) -> None:
    """Writes a NumPy archive of what `anonymous` returns."""
    np.savez(path, **vars(answered))


def read_anonymous(path: Path) -> Answered:
    """What `write_anonymous` was given."""
    with np.load(path) as arrays:
        return Answered(**arrays)


def paired_test(first: Answered, second: Answered) -> metrics.Difference:
    """`metrics.accuracy_difference` of two networks.

    Raises:
        UserError: they were not asked about the same clips.
    """
    if first.names.tolist() != second.names.tolist():
        common = len(set(first.names) & set(second.names))
        raise UserError(
            f"the clips differ ({len(first.names)} and {len(second.names)}, {common} in common): "
            "compare experiments with the same words, data set and split"
        )
    return metrics.accuracy_difference(first.correct, second.correct, first.speakers)
