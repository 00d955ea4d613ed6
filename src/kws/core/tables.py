"""Tables in temporary files, for what is looked up or sorted and might not fit into the memory."""

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from kws.core import paths

# A file without a name does not survive a kill, so nothing is written with care. 16 MB of it are in memory
_SETTINGS = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = FILE;
PRAGMA cache_size = -16384;
"""


class _Connection(sqlite3.Connection):
    def __del__(self) -> None:
        self.close()  # Python 3.13 warns of one that is open


def temporary_database(tables: str) -> sqlite3.Connection:
    """A database in a file that has no name: it is gone when nothing uses it, and when the process is killed.

    The file lies in the project's scratch folder. What SQLite sorts lies where TMPDIR says, or in /var/tmp.

    Args:
        tables: the SQL that makes its tables.
    """
    with tempfile.NamedTemporaryFile(dir=paths.scratch("tables")) as file:
        # no locks: network file systems have none that work, and nobody else opens it
        address = f"{Path(file.name).absolute().as_uri()}?nolock=1"
        # what collects garbage may be another thread
        database = sqlite3.connect(
            address, isolation_level=None, uri=True, factory=_Connection, check_same_thread=False
        )
        database.executescript(_SETTINGS + tables)
    database.execute("BEGIN")
    return database


class Texts(Mapping[str, str]):
    """Texts by their name, in a temporary file. They are read in the order of the names, by code point as in Python.

    Args:
        texts: the first ones.
    """

    def __init__(self, texts: Mapping[str, str] | None = None) -> None:
        self._database = temporary_database("CREATE TABLE texts (name TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID;")
        for name, text in (texts or {}).items():
            self.add(name, text)

    def add(self, name: str, text: str) -> bool:
        """Adds a text; False, and nothing is changed, if there is one of this name."""
        return bool(self._database.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (name, text)).rowcount)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Names and texts, one after the other; `items` would look up each name."""
        return self._database.execute("SELECT name, text FROM texts ORDER BY name")

    def __getitem__(self, name: str) -> str:
        found = self._database.execute("SELECT text FROM texts WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise KeyError(name)
        return str(found[0])

    def __iter__(self) -> Iterator[str]:
        return (name for (name,) in self._database.execute("SELECT name FROM texts ORDER BY name"))

    def __len__(self) -> int:
        [[number]] = self._database.execute("SELECT COUNT(*) FROM texts")
        return int(number)
