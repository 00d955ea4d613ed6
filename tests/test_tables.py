"""Tables in temporary files."""

import sqlite3
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kws.core import paths, stage
from kws.core.tables import Texts, temporary_database

NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True)


@given(NAMES)
def test_texts_are_read_in_the_order_in_which_python_sorts_their_names(names):
    texts = Texts({name: f"text of {name}" for name in names})
    assert list(texts) == sorted(names)
    assert list(texts.rows()) == sorted(texts.items()) == [(name, f"text of {name}") for name in sorted(names)]
    assert len(texts) == len(names)


def test_a_text_stays_if_another_one_of_its_name_is_added():
    texts = Texts()
    assert texts.add("a", "1")
    assert not texts.add("a", "2")
    assert texts == {"a": "1"}
    assert "b" not in texts
    with pytest.raises(KeyError):
        texts["b"]


def test_a_table_takes_room_in_the_scratch_folder_but_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    texts = Texts({f"{number}": 1000 * "x" for number in range(30_000)})  # more than SQLite holds in memory
    assert list(paths.scratch("tables").iterdir()) == []
    assert len(texts) == 30_000


def test_a_table_for_which_there_is_no_room_is_one_line(monkeypatch):
    def fill() -> None:
        database = temporary_database("PRAGMA max_page_count = 10; CREATE TABLE many (text TEXT);")
        database.executemany("INSERT INTO many VALUES (?)", ((1000 * "x",) for _ in range(1000)))

    monkeypatch.setattr(sys, "argv", ["stage.py"])
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(
        SystemExit, match=r"^error: the disk is full \(a temporary table\): make room, then run it again$"
    ):
        stage.run(fill, "")


def test_any_other_error_of_a_table_is_not_hidden(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stage.py"])
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        stage.run(lambda: temporary_database("").execute("SELECT * FROM nowhere"), "")
