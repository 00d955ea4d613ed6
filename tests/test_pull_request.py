"""The report of a change, its pictures and its gate: `make report BASE=main`."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT

from kws.commands import report
from kws.core.errors import UserError
from kws.core.files import write_json
from kws.evaluate.answers import Answers, write_answers

WORDS = ["no", "yes"]
PIPELINE = {
    "stages": {
        "download": {"cmd": "cp -r given/raw data", "deps": ["given/raw"], "outs": ["data/raw"]},
        "evaluate": {
            "cmd": "cp given/*.npz data && cp given/*.json metrics",
            "deps": ["given"],
            "params": ["mel_bins", "words"],
            "outs": ["data/validation.npz", "data/answers.npz"],
            "metrics": [{"metrics/evaluate.json": {"cache": False}}, {"metrics/export.json": {"cache": False}}],
        },
    }
}
EVALUATED = {"stream_missed": 0.2, "stream_missed_low": 0.1, "stream_missed_high": 0.4}
EXPORTED = {"int8_bytes": 1000, "int8_multiplications": 5000, "features_arena_bytes": 800, "int8_accuracy": 0.9}


def answers(wrong: int, clips: int = 200, classes: int = 2) -> Answers:
    """Answers to clips of 20 people, the first of each person's clips wrong, so that `wrong` of ten are."""
    labels = np.arange(clips) // 10 % classes
    predicted = np.where(np.arange(clips) % 10 < wrong, (labels + 1) % classes, labels)
    probabilities = np.full((clips, classes), 0.2 / (classes - 1), np.float32)
    probabilities[np.arange(clips), predicted] = 0.8
    return Answers(
        names=np.array([f"{WORDS[label % 2]}/{n:03}.wav" for n, label in enumerate(labels)]),
        speakers=np.array([f"s{n // 10}" for n in range(clips)]),
        labels=labels,
        probabilities=probabilities,
        embeddings=np.zeros((clips, 0), np.float32),
    )


class Repository:
    """A git repository with a pipeline that has the stages and files that a report reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("given/raw", "data", "metrics", "plots"):
            (root / folder).mkdir(parents=True)
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "config", "user.email", "a@b.c")
        self.run("git", "config", "user.name", "a")
        self.run("dvc", "init", "-q")
        (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        (root / "metrics" / ".gitignore").write_text("")

    def run(self, *command: str) -> None:
        subprocess.run(command, cwd=self.root, check=True, capture_output=True)

    def write(self, validation: Answers, test: Answers | None = None, **changes: Any) -> None:
        """Writes what the pipeline copies, runs it, and commits it."""
        given = self.root / "given"
        write_answers(given / "validation.npz", validation, changes.get("classes", WORDS), synthetic=False)
        write_answers(given / "answers.npz", test or answers(2), changes.get("classes", WORDS), synthetic=False)
        write_json(given / "evaluate.json", EVALUATED | changes.get("evaluated", {}))
        write_json(given / "export.json", EXPORTED | changes.get("exported", {}))
        write_json(given / "raw" / "source.json", {"sha256": changes.get("sound", "abc")})
        (given / "raw" / "clips.csv").write_text(changes.get("clips", "one"))
        params = {"mel_bins": 40, "words": WORDS} | changes.get("params", {})
        (self.root / "params.yaml").write_text(yaml.safe_dump(params))
        self.run("dvc", "repro", "-q")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "a change")

    def report(self, base: str = "main", gate: str = "1") -> tuple[int, str, str]:
        """Exit code of the command, what it printed, and the report."""
        environment = os.environ | {"GATE": gate, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-m", "kws.commands.report", base]
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        written = self.root / report.FOLDER / "report.md"
        return done.returncode, done.stdout + done.stderr, written.read_text() if written.exists() else ""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A repository whose branch main is right in 7 of 10 clips; a change is on."""
    repository = Repository(tmp_path_factory.mktemp("base"))
    repository.write(answers(3))
    repository.run("git", "checkout", "-qb", "change")
    return repository.root


@pytest.fixture
def repository(base: Path, tmp_path: Path) -> Repository:
    shutil.copytree(base, tmp_path / "copy", symlinks=True)
    copy = Repository.__new__(Repository)
    copy.root = tmp_path / "copy"
    return copy


def section(text: str, title: str) -> str:
    return text.partition(f"### {title}\n")[2].partition("\n### ")[0]


def table(text: str) -> list[list[str]]:
    """The rows of the tables in Markdown, without the line below their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_a_change_that_helps_passes_and_one_that_harms_is_stopped(repository):
    repository.write(answers(1), answers(5), params={"mel_bins": 64})
    code, printed, text = repository.report()
    assert (code, "Traceback" in printed) == (0, False), printed
    assert "**On validation, it is better: +20.00 points, 95 % interval +" in text
    assert "(for other people, from 20).** The gate lets it pass." in text
    rows = table(text.partition("### ")[0])
    assert rows[0] == ["accuracy", "A", "B", "B minus A", "only A right", "only B right", "McNemar's p"]
    assert rows[1][0] == "**validation, to choose by**"
    assert [row[1][:6] for row in rows[1:]] == ["70.0 %", "80.0 %"]
    assert [row[2][:6] for row in rows[1:]] == ["90.0 %", "50.0 %"]
    assert rows[1][3].startswith("+20.00 points [+")
    assert rows[2][3].startswith("-30.00 points [-")  # the test decides nothing
    assert rows[1][4:6] == ["0", "40"]
    assert table(section(text, "Parameters"))[1:] == [["`mel_bins`", "`40`", "`64`"]]

    repository.run("git", "branch", "better")
    repository.write(answers(3), params={"mel_bins": 32})
    code, printed, text = repository.report("better")
    assert code == 1
    assert printed.splitlines()[-1].startswith(
        "error: the gate stops this change: on validation the change is significantly worse: -20.00 points, 95 % "
    )
    assert "**On validation, it is worse: -20.00 points" in text
    assert "**The gate stops it:** on validation the change is significantly worse: -20.00 points" in text
    assert repository.report("better", gate="")[0] == 0
