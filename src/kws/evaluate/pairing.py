"""Two networks asked about the same clips of validation or test: is one better?"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from kws.core.errors import UserError
from kws.evaluate import metrics
from kws.evaluate.answers import Answers, read_answers
from kws.recordings.background import NOBODY, is_nobody

BETTER, WORSE, UNDECIDED = "better", "worse", "not known to differ"


@dataclass(frozen=True)
class Answered:
    """Clips of validation or test: names, speakers, and bool, whether the answer is right; (clips,) each."""

    names: np.ndarray
    speakers: np.ndarray
    correct: np.ndarray


def read_answered(file: Path | IO[bytes]) -> Answered:
    """What a network made of its clips, by name: of a file that evaluate writes."""
    answers, classes, _ = read_answers(file)
    return answered(sorted_by_name(answers), classes)


def sorted_by_name(answers: Answers) -> Answers:
    """The same answers, in the order of the clips' names: those of two networks then belong to each other."""
    return answers.subset(np.argsort(answers.names, kind="stable"))


def answered(answers: Answers, classes: list[str]) -> Answered:
    """What a network made of these clips, by their names with their classes.

    Two experiments may call one recording a word and `_unknown_`.
    """
    names = np.char.add(np.char.add(answers.names, " "), np.array(classes)[answers.labels])
    return Answered(names, answers.speakers, answers.correct)


def anonymous(answered: Answered) -> Answered:
    """The same clips, with hashes for names and numbers for speakers. The paired test of two such gives the same.

    It asks whether a clip is silence that kws made, so the number of such a speaker begins as its name does.
    """
    names = [hashlib.sha256(name.encode()).hexdigest()[:16] for name in answered.names]
    people, person = np.unique(answered.speakers, return_inverse=True)
    numbers = [f"{NOBODY if is_nobody(who) else ''}{number}" for number, who in enumerate(people)]
    return Answered(np.array(names), np.array(numbers)[person], answered.correct)


def write_anonymous(path: Path, answered: Answered) -> None:
    """Writes a NumPy archive of what `anonymous` returns."""
    np.savez(path, **vars(answered))


def read_anonymous(path: Path) -> Answered:
    """What `write_anonymous` was given."""
    with np.load(path) as arrays:
        return Answered(**arrays)


def clips_differ(first: Answered, second: Answered) -> str:
    """How far they were asked about other clips; empty if the clips are the same."""
    if first.names.tolist() == second.names.tolist():
        return ""
    common = len(set(first.names) & set(second.names))
    return f"the clips differ ({len(first.names)} and {len(second.names)}, {common} in common)"


def paired_test(first: Answered, second: Answered) -> metrics.Difference:
    """`metrics.accuracy_difference` of two networks.

    Raises:
        UserError: they were not asked about the same clips.
    """
    if problem := clips_differ(first, second):
        raise UserError(f"{problem}: compare experiments with the same words, data set and split")
    return metrics.accuracy_difference(first.correct, second.correct, first.speakers)


def verdict(first: Answered, second: Answered) -> str:
    """What the paired test says of the second of two networks: BETTER, WORSE or UNDECIDED; errors as there."""
    if paired_test(first, second).better:
        return BETTER
    return WORSE if paired_test(second, first).better else UNDECIDED
