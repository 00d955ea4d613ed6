"""A dvc.lock that DVC wrote by half, because it was killed or the disk was full."""

import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT

from kws.commands import mend_lock

WHOLE = (ROOT / "dvc.lock").read_bytes()


@pytest.fixture(autouse=True)
def _in_a_checkout(tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mend_lock, "SECONDS", 0)
    shutil.copy(ROOT / "dvc.lock", tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)


def commit() -> None:
    subprocess.run(["git", "add", "dvc.lock"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "all"], check=True)


@pytest.mark.parametrize("length", [0, WHOLE.index(b"deps:") + 3, WHOLE.index(b"md5: ", 2000) + 1])
def test_git_gives_its_own_and_the_half_is_kept(tmp_path, capsys, length):
    commit()
    Path("dvc.lock").write_bytes(WHOLE[:length])
    mend_lock.main()
    assert Path("dvc.lock").read_bytes() == WHOLE
    assert Path(".scratch/damaged/dvc.lock").read_bytes() == WHOLE[:length]
    told = capsys.readouterr().out
    assert told.startswith("dvc.lock was written by half, ")
    assert told.endswith(f": that of the last commit is there now; the half is {tmp_path}/.scratch/damaged/dvc.lock\n")


def test_what_was_never_committed_is_put_away(capsys):
    Path("dvc.lock").write_bytes(b"")
    mend_lock.main()
    assert not Path("dvc.lock").exists()
    assert ": none is there now; " in capsys.readouterr().out


@pytest.mark.parametrize("content", [WHOLE, WHOLE.replace(b"    cmd:", b"<<<<<<< HEAD\n    cmd:", 1)])
def test_one_that_is_whole_or_has_marks_of_a_conflict_stays(content, capsys):
    commit()
    Path("dvc.lock").write_bytes(content)
    before = Path("dvc.lock").read_bytes()
    mend_lock.main()
    assert Path("dvc.lock").read_bytes() == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("content", "stays"), [("", False), ('{"data/raw": {"wri', False), ("{}", True)])
def test_a_half_note_of_what_runs_is_removed(capsys, content, stays):
    Path(".dvc/tmp").mkdir(parents=True)
    Path(".dvc/tmp/rwlock").write_text(content)
    mend_lock.main()
    assert Path(".dvc/tmp/rwlock").exists() == stays
    assert Path("dvc.lock").read_bytes() == WHOLE
    said = ".dvc/tmp/rwlock was written by half, since DVC was killed or the disk was full: it is removed\n"
    assert capsys.readouterr().out == ("" if stays else said)


@pytest.mark.parametrize(("name", "half", "whole"), [(".dvc/tmp/rwlock", b"", b"{}"), ("dvc.lock", b"", WHOLE)])
def test_what_is_being_written_stays(monkeypatch, capsys, name, half, whole):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(half)
    monkeypatch.setattr(mend_lock.time, "sleep", lambda pause: path.write_bytes(whole) if pause else None)
    monkeypatch.setattr(mend_lock, "SECONDS", 1)
    mend_lock.main()
    assert path.read_bytes() == whole
    assert capsys.readouterr().out == ""


def test_a_project_without_one_needs_nothing(capsys):
    Path("dvc.lock").unlink()
    mend_lock.main()
    assert list(Path().glob(".scratch")) == []
    assert capsys.readouterr().out == ""
