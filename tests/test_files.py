import json

import pytest

from kws.core.errors import UserError
from kws.core.files import (
    folder_written_whole,
    read_csv,
    read_json,
    remove_folder,
    sha256_of,
    write_csv,
    write_json,
    written_whole,
)


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with written_whole(path) as partial:
        partial.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(TypeError), written_whole(path) as partial:
        partial.write_text("half") and partial.write_text(None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_only_when_it_is_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old.txt").touch()
    (tmp_path / ".partial-folder").mkdir()  # left by a kill
    (tmp_path / ".partial-folder" / "half.txt").touch()
    with pytest.raises(IsADirectoryError), folder_written_whole(path) as partial:
        partial.write_text("a folder takes no text")
    assert [p.name for p in path.iterdir()] == ["old.txt"]
    with folder_written_whole(path) as partial:
        assert list(partial.iterdir()) == []
        (partial / "new.txt").touch()
    assert [p.name for p in path.iterdir()] == ["new.txt"]
    assert list(tmp_path.iterdir()) == [path]


def test_json_comes_back_as_it_was(tmp_path):
    write_json(tmp_path / "x.json", {"accuracy": 0.5, "word": "grün"})
    assert read_json(tmp_path / "x.json") == {"accuracy": 0.5, "word": "grün"}
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"accuracy": object()})
    assert json.loads((tmp_path / "x.json").read_text())["accuracy"] == 0.5


def test_csv_has_its_columns_also_without_rows(tmp_path):
    write_csv(tmp_path / "x.csv", [{"b": 2, "a": "x,y"}], ("a", "b"))
    assert (tmp_path / "x.csv").read_text() == 'a,b\n"x,y",2\n'
    write_csv(tmp_path / "x.csv", [], ("a", "b"))
    assert (tmp_path / "x.csv").read_text() == "a,b\n"


def test_rows_are_read_as_they_were_written(tmp_path):
    write_csv(tmp_path / "x.csv", [{"b": 2, "a": "x,y"}], ("a", "b"))
    assert read_csv(tmp_path / "x.csv") == [{"a": "x,y", "b": "2"}]
    with pytest.raises(UserError, match=r"y.csv is not here: run dvc repro"):
        read_csv(tmp_path / "y.csv")


def test_sha256_is_the_known_one(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_that_an_earlier_stage_should_have_written_is_asked_for_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"spec.json is not here: run dvc repro"):
        read_json(tmp_path / "spec.json")


def test_a_folder_is_removed_whole_also_where_a_kill_left_half_of_it(tmp_path):
    for name in ("done", ".partial-done"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    remove_folder(tmp_path / "done")
    assert list(tmp_path.iterdir()) == []
