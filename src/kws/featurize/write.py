"""Writes the features of all recordings of an experiment into shards: in this process, on all cores."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from kws.audio.cut import Cut
from kws.audio.frontend import FrontEnd
from kws.featurize.chosen import Chosen
from kws.featurize.compute import compute_chosen
from kws.featurize.report import Row, manifest_row
from kws.recordings.background import Background
from kws.recordings.source import DataSource
from kws.records.write import RecordWriter


@dataclass(frozen=True)
class Recipe:
    """How recordings become records.

    Attributes:
        front_end: computes the features.
        cut_of: how the recordings of an archive become clips.
        labels: the label of each class. Unheard words belong to none if `_unknown_` is off; theirs, 0, is not used.
    """

    front_end: FrontEnd
    cut_of: Mapping[Path, Cut]
    labels: Mapping[str, int]


def write_features(
    folder: Path, chosen: Iterable[Chosen], source: DataSource, noises: Background, recipe: Recipe
) -> Iterator[Row]:
    """Writes the shards, and yields the rows of the manifest, in the order of the archives.

    Args:
        folder: where the shards go.
        chosen: the recordings; they are read twice.
        source: says where their archives are.
        noises: the background recordings.
        recipe: how recordings become records.
    """
    expected = Counter(choice.split for choice in chosen)
    with RecordWriter(folder, expected) as records:
        computed = compute_chosen(chosen, source, noises, recipe.front_end, recipe.cut_of)
        for choice, clips in tqdm(computed, "featurize", expected.total(), unit="recording", disable=None):
            for features in clips:
                if features.mel_power is not None:
                    records.write(
                        choice.split,
                        features.name,
                        choice.clip.speaker,
                        recipe.labels.get(choice.label, 0),
                        features.mel_power,
                        exact=features.exact,
                        recording=choice.clip.name,
                    )
                yield manifest_row(choice, features)
