"""Two networks asked about the same test clips: is one better?"""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from kws import metrics
from kws.answers import read_answers
from kws.errors import UserError


@dataclass(frozen=True)
class Answered:
    """The test clips of an experiment: names, speakers, and bool, whether the answer is right; (clips,) each."""

    names: np.ndarray
    speakers: np.ndarray
    correct: np.ndarray


def read_answered(file: Path | IO[bytes]) -> Answered:
    """What a network made of its test clips, by name: of the file that evaluate writes."""
    answers, classes, _ = read_answers(file)
    # names alone are not enough: the publishers' archives have two recordings of one name
    order = np.argsort(answers.names, kind="stable")
    names = np.char.add(np.char.add(answers.names, " "), np.array(classes)[answers.labels])
    return Answered(names[order], answers.speakers[order], (answers.labels == answers.predicted)[order])


def paired_test(first: Answered, second: Answered) -> dict[str, float]:
    """`metrics.paired_test` of two networks.

    Raises:
        UserError: they were not tested on the same clips.
    """
    if first.names.tolist() != second.names.tolist():
        common = len(set(first.names) & set(second.names))
        raise UserError(
            f"the test clips differ ({len(first.names)} and {len(second.names)}, {common} in common): "
            "compare experiments with the same words, data set and split"
        )
    return metrics.paired_test(first.correct, second.correct, first.speakers, seed=0)
