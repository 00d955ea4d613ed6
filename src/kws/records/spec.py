"""The feature spec: what the features are, of which data, with how many clips. It goes into the trained model, too."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from kws.audio.frontend import FrontEnd
from kws.core.files import read_json


@dataclass(frozen=True)
class FeatureSpec:
    """What featurize says of its features.

    Attributes:
        front_end: computed them.
        dataset: name or public address of the data set.
        test_dataset: likewise of the one that the test clips are from; it may be the same.
        synthetic: whether a computer speaks the training clips.
        test_synthetic: whether it speaks the test clips.
        classes: their names, in the order of the labels.
        clips: how many usable clips each split has.
    """

    front_end: FrontEnd
    dataset: str
    test_dataset: str
    synthetic: bool
    test_synthetic: bool
    classes: list[str]
    clips: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The content of spec.json, and of the file in a trained model: all fields, the front end's among them."""
        return self.front_end.to_json() | {name: value for name, value in vars(self).items() if name != "front_end"}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The spec that `to_json` was called on."""
        own = {field.name: content[field.name] for field in fields(cls) if field.name != "front_end"}
        return cls(front_end=FrontEnd.from_json(content), **own)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The spec in a file that featurize has written; errors as in `read_json`."""
        return cls.from_json(read_json(path))
