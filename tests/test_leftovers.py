"""Half-written files of killed stages, and a clock that stands at 1970."""

import subprocess
import sys
from pathlib import Path

import pytest

from kws.core import leftovers, stage

THEIRS = ("metrics/.DNDuXS_xK5S-XodQbW3SuQ.tmp", "metrics/x.json.DNDuXS_xK5S-XodQbW3SuQ.tmp")  # of DVC


@pytest.fixture(autouse=True)
def _killed(tmp_path, monkeypatch):
    """A workspace in which stages were killed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage.py"])
    ours = ("data/.partial-features/y.tfrecord", "metrics/.partial-train.json")
    for name in ("data/features/x.tfrecord", *ours, *THEIRS, "metrics/.own.tmp"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def files() -> list[str]:
    return sorted(path.as_posix() for folder in leftovers.FOLDERS for path in Path(folder).rglob("*") if path.is_file())


def test_they_are_removed_and_nothing_else_is():
    leftovers.remove()
    assert files() == ["data/features/x.tfrecord", "metrics/.own.tmp"]
    assert not Path("data/.partial-features").exists()


def test_they_stay_while_a_stage_is_at_work_in_another_process():
    code = "from kws.core import leftovers\nwith leftovers.at_work():\n print(flush=True)\n input()"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        before = files()
        leftovers.remove()
        assert files() == before
        other.kill()
    leftovers.remove()
    assert len(files()) == 2


@pytest.mark.parametrize(("started", "left"), [("watch", 2), ("train", 6), (None, 6)])
def test_the_first_stage_removes_them_for_dvc(monkeypatch, started, left):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if started:
        monkeypatch.setenv("DVC_STAGE", started)
        Path("dvc.yaml").write_text("stages: {watch: {}, train: {}}")
    seen = []
    stage.run(lambda: seen.append(len(files())), "A stage.")
    assert seen == [left]
    assert leftovers.LOCK.exists() == bool(started)


def test_a_clock_at_1970_is_one_line(monkeypatch):
    monkeypatch.setattr(stage.time, "time", lambda: 600.0)
    with pytest.raises(
        SystemExit, match=r"^error: the clock of this computer says .*: set it, since files are stamped"
    ):
        stage.run(lambda: pytest.fail("the stage ran"), "A stage.")
