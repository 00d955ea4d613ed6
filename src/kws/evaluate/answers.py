"""Clips and the network's answers: written by evaluate, of validation and test, read by what needs no network."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Self

import numpy as np

from kws.core.errors import UserError
from kws.core.files import written_whole
from kws.core.naming import is_computed
from kws.core.stage import Synthetic


@dataclass(frozen=True)
class Answers:
    """What the network makes of clips, one entry a clip.

    Attributes:
        names: of the clips in their archive.
        speakers: who speaks.
        labels: the right classes, as indices; int64 (clips,).
        probabilities: float32 (clips, classes).
        embeddings: float32 (clips, units); no units where nobody needs them.
    """

    names: np.ndarray
    speakers: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    embeddings: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The likeliest class of each clip, as an index."""
        return self.probabilities.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether that is the right one: bool (clips,)."""
        return self.predicted == self.labels

    @property
    def confidence(self) -> np.ndarray:
        """The probability of that class."""
        return self.probabilities.max(axis=1)

    @property
    def computed(self) -> np.ndarray:
        """Whether a computed voice that speaks beside people says each clip: bool (clips,)."""
        return np.array([is_computed(name) for name in self.names], bool)

    def voices(self, *, synthetic: bool) -> Synthetic:
        """Whether the voices are synthetic, given whether those of the data set are."""
        return "partly" if self.computed.any() else synthetic

    def of_people(self) -> Self:
        """The answers to all other clips than those of computed voices that speak beside people.

        Raises:
            UserError: there are no others.
        """
        if self.computed.all():
            raise UserError("computed voices say all of the clips, and nothing is known about people: record some")
        return self.subset(np.flatnonzero(~self.computed))

    def subset(self, positions: np.ndarray) -> Self:
        """The answers to some of the clips, in this order."""
        return replace(self, **{name: values[positions] for name, values in vars(self).items()})


def write_answers(path: Path, answers: Answers, classes: list[str], *, synthetic: bool) -> None:
    """Writes a NumPy archive; the same answers give the same bytes.

    Args:
        path: of the file.
        answers: of the network.
        classes: their names, in the order of the probabilities.
        synthetic: whether the voices are a computer's.
    """
    with written_whole(path) as partial:
        np.savez(partial, **vars(answers), classes=classes, synthetic=synthetic)


def read_answers(file: Path | IO[bytes]) -> tuple[Answers, list[str], bool]:
    """What `write_answers` was given: the answers, the names of the classes, whether the voices are synthetic."""
    with np.load(file) as parts:
        arrays = dict(parts)
    classes, synthetic = arrays.pop("classes").tolist(), bool(arrays.pop("synthetic"))
    return Answers(**arrays), classes, synthetic
