"""Chosen clips, in a temporary file, since there may be millions."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kws.core.naming import is_computed
from kws.core.tables import temporary_database
from kws.recordings.clips import Clip, lot

Tally = Counter[tuple[str, str, bool]]  # clips by class, split, and whether computed voices say them beside people


@dataclass(frozen=True, slots=True)
class Chosen:
    """A clip, the class it belongs to, and its split: of `SPLITS`, or of `UNHEARD`. Unheard words are `_unknown_`."""

    clip: Clip
    label: str
    split: str

    @classmethod
    def of_row(cls, row: tuple[str, ...]) -> "Chosen":
        """The clip that `row` has given."""
        *clip, label, split = row
        return cls(Clip(*clip), label, split)

    def row(self) -> tuple[str, ...]:
        """All that it is, in the order of `COLUMNS`."""
        clip = self.clip
        return clip.name, clip.word, clip.speaker, clip.split, clip.content, clip.said, self.label, self.split


COLUMNS = "name, word, speaker, given, content, said, label, split"  # of a table in SQL; `given` is the clip's split
# Two data sets may have a clip of one name: first those of validation and test
_ORDER = "computed, name, split LIKE 'unheard%', split = 'train', place"


class ChosenTable:
    """Chosen clips in a temporary file: there may be millions.

    They are read in the order of their names, but those of computed voices after all others. Conditions are SQL, with
    the columns of `COLUMNS`; `place`, the order in which they were added; `computed`, whether the clip is of a computed
    voice that speaks beside people; and `heard`, as `Clip.heard`. The function `lot` is that of `kws.recordings.clips`.

    Args:
        chosen: the first ones.
    """

    def __init__(self, chosen: Iterable[Chosen] = ()) -> None:
        self.database = temporary_database(
            "CREATE TABLE chosen (name TEXT, word TEXT, speaker TEXT, given TEXT, content TEXT, said TEXT, label TEXT,"
            "split TEXT, computed INTEGER, heard INTEGER, place INTEGER PRIMARY KEY);"
        )
        self.database.create_function("lot", 1, lot, deterministic=True)
        self.add(chosen)

    def add(self, chosen: Iterable[Chosen]) -> None:
        """Adds clips."""
        self.database.executemany(
            "INSERT INTO chosen VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            ((*one.row(), is_computed(one.clip.name), one.clip.heard) for one in chosen),
        )

    def __iter__(self) -> Iterator[Chosen]:
        return self.where(f"TRUE ORDER BY {_ORDER}")

    def where(self, condition: str, *values: str) -> Iterator[Chosen]:
        """The clips for which a condition holds, which may end in an order."""
        return map(Chosen.of_row, self.database.execute(f"SELECT {COLUMNS} FROM chosen WHERE {condition}", values))

    def count(self, condition: str, *values: str) -> int:
        """For how many clips a condition holds."""
        [[number]] = self.database.execute(f"SELECT COUNT(*) FROM chosen WHERE {condition}", values)
        return int(number)

    def remove(self, condition: str, *values: str, keep: str = "", first: int = 0) -> None:
        """Removes the clips for which a condition holds, but for the first ones in the order `keep`."""
        spared = f"AND place NOT IN (SELECT place FROM chosen WHERE {condition} ORDER BY {keep}, place LIMIT {first})"
        self.database.execute(
            f"DELETE FROM chosen WHERE {condition} {spared if first else ''}", (*values, *(values if first else ()))
        )

    def tally(self) -> Tally:
        """How many clips there are of each kind."""
        rows = self.database.execute("SELECT label, split, computed, COUNT(*) FROM chosen GROUP BY 1, 2, 3")
        return Counter({(label, split, bool(computed)): number for label, split, computed, number in rows})
