"""The manifest, a row for each clip; and what featurize says of recordings that it set aside or mended."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from kws.core.naming import Kinds, is_computed
from kws.featurize.chosen import Chosen, Tally
from kws.featurize.compute import Features
from kws.recordings.clips import SPLITS
from kws.recordings.unheard import Origin

Row = dict[str, str]  # of the manifest

MANIFEST_COLUMNS = (
    *("name", "recording", "start", "word", "class", "speaker", "split", "samples", "status", "reason", "remarks"),
)


def manifest_row(choice: Chosen, features: Features) -> Row:
    """A row of manifest.csv; `start` is in seconds, `samples` the length of the recording."""
    clip = choice.clip
    status = "set aside" if features.reason else "ok"
    where = (features.name, clip.name, f"{features.start:g}", clip.spoken, choice.label, clip.speaker, choice.split)
    values = (*where, str(features.samples), status, features.reason, "; ".join(features.remarks))
    return dict(zip(MANIFEST_COLUMNS, values, strict=True))


def left_out_row(choice: Chosen, reason: str) -> Row:
    """A row of manifest.csv for a recording that is in no split."""
    name = choice.clip.name
    return manifest_row(choice, Features(name, name, 0.0, 0, None, reason))


class Report:
    """What featurize found, row by row of the manifest. It holds numbers and first names alone: rows may be millions.

    Args:
        words: of the experiment.
        unheard: where the clips of each unheard split come from. What was set aside or mended of computed ones is not
            told.

    Attributes:
        usable: how many clips can be used.
        set_aside: how many recordings cannot.
        examples: the row of the first clip of each class, by the class.
        shown: the row of the first word of training.
    """

    def __init__(self, words: Collection[str], unheard: Mapping[str, Origin]) -> None:
        self.usable: Tally = Counter()
        self.set_aside = 0
        self.examples: dict[str, Row] = {}
        self.shown: Row = {}
        self._words = frozenset(words)
        self._computed = {split for split, origin in unheard.items() if origin == "computed"}
        self._reasons, self._remarks = Kinds(), Kinds()

    def add(self, row: Row) -> bool:
        """Takes the row of a clip; whether it belongs into the list of the unusable ones."""
        label, split, computed = row["class"], row["split"], is_computed(row["recording"])
        if row["status"] == "ok":
            self.usable[label, split, computed] += 1
            if split in SPLITS:
                self.examples.setdefault(label, row)
            if not self.shown and split == "train" and label in self._words:
                self.shown = row
        else:
            self.set_aside += split != ""
        if split in self._computed:
            return False
        if row["reason"]:
            self._reasons.add(row["recording"], row["reason"])
        for remark in row["remarks"].split("; "):
            if remark and not computed:
                self._remarks.add(row["name"], remark)
        return row["status"] != "ok"

    def clips(self, split: str, *, computed: bool = False) -> int:
        """The number of usable clips of a split; or of those that computed voices say beside people."""
        return sum(
            number for (_, of, beside), number in self.usable.items() if of == split and (beside or not computed)
        )

    def lines(self, background: Mapping[str, str], manifest: Path) -> list[str]:
        """Lines with numbers and first names.

        Args:
            background: remarks on background recordings, by name.
            manifest: where the whole list stands.
        """
        lines = [f"set aside, {line}" for line in self._reasons.lines()] + self._remarks.lines()
        if lines:
            lines.append(f"{manifest} names them all")
        return lines + [f"background {name}: {remark}" for name, remark in background.items()]
