import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SOURCE

from kws.commands import folds
from kws.core import paths
from kws.core.files import write_json
from kws.evaluate.answers import Answers, write_answers
from kws.recordings.background import NOBODY


def answers(right: list[bool], speakers: list[str]) -> Answers:
    """Answers of which these are right."""
    count = len(right)
    probabilities = np.zeros((count, 2), np.float32)
    probabilities[np.arange(count), [0 if one else 1 for one in right]] = 1
    names = np.array([f"no/{number}.wav" for number in range(count)])
    return Answers(names, np.array(speakers), np.zeros(count, int), probabilities, np.zeros((count, 3), np.float32))


FOLDS = [
    answers([True] * 10, ["ada"] * 5 + ["bob"] * 5),
    answers([True] * 8 + [False] * 2, ["cy"] * 5 + ["dan"] * 5),
    answers([True] * 3 + [False], ["eve"] * 3 + [f"{NOBODY}_silence_/test-00000"]),
]


def test_a_row_for_each_fold_and_one_for_all_answers():
    rows = folds.fold_rows(FOLDS)
    assert [row["fold"] for row in rows] == ["1", "2", "3", "all"]
    assert [row["speakers"] for row in rows] == [2, 2, 1, 5]  # silence is nobody's
    assert [row["test_clips"] for row in rows] == [10, 10, 4, 24]
    assert [row["accuracy"] for row in rows] == [1.0, 0.8, 0.75, 0.875]  # not the mean of the folds
    assert rows[1]["accuracy_low"] < 0.49  # by two people: wider than Wilson's 0.490162
    assert rows[1]["accuracy_high"] > 0.943318
    assert 0.5 <= rows[3]["accuracy_low"] < 0.875 < rows[3]["accuracy_high"] <= 1


def test_computed_voices_are_left_out_since_the_same_ones_speak_in_every_fold():
    made = answers([True] * 8, ["computed-test-0000"] * 4 + ["computed-test-0001"] * 4)
    made = replace(made, names=np.array([f"_computed_/kettle/{number}.wav" for number in range(8)]))
    both = [
        Answers(*(np.concatenate([getattr(one, field.name) for one in (fold, made)]) for field in fields(Answers)))
        for fold in FOLDS
    ]
    rows = folds.fold_rows(both)
    assert rows == folds.fold_rows(FOLDS)
    assert "Left out are 24 answers to clips of computed voices" in folds.report(rows, named=True, kept=0, computed=24)
    assert "computed voices" not in folds.report(rows, named=True, kept=0, computed=0)


def test_the_interval_of_all_answers_is_by_speaker():
    """Two of four people are never understood: the interval is far wider than for 40 single clips."""
    rows = folds.fold_rows(
        [answers([True] * 20, ["ada"] * 10 + ["bob"] * 10), answers([False] * 20, ["cy"] * 10 + ["dan"] * 10)]
    )
    assert rows[-1]["accuracy_low"] < 0.2
    assert rows[-1]["accuracy_high"] > 0.8


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project in which `dvc exp run` does nothing but write what the pipeline would."""
    monkeypatch.chdir(tmp_path)
    for folder in ("presets", "data/raw"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "presets" / "fast.yaml").write_text("width: 2.0\n")
    before = (Path(__file__).parents[1] / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(before)

    def pretend(command, *, check):
        assert check
        assert command[-1] == "evaluate"
        fold, number = command[-2].removeprefix("fold=").strip("'").split("/")
        assert number == "3"
        write_answers(tmp_path / "data" / "answers.npz", FOLDS[int(fold) - 1], ["no", "yes"], synthetic=False)
        (tmp_path / "params.yaml").write_text(before.replace("fold: ''", f"fold: {fold}/3"))

    monkeypatch.setattr(subprocess, "run", pretend)
    write_json(tmp_path / paths.SOURCE, SOURCE.to_json())
    write_json(tmp_path / paths.METRICS / "evaluate.json", {"accuracy": 0.9, "heard_clips": 159})
    return tmp_path


def test_an_experiment_for_each_fold_gives_the_table_and_the_picture(project, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["folds", "fast", "dataset=recordings", "3"])
    before = (project / "params.yaml").read_text()
    folds.main()
    printed = capsys.readouterr().out
    for fold in (1, 2, 3):
        assert f"dvc exp run -S width=2.0 -S dataset=recordings -S fold={fold}/3 evaluate" in printed
    assert "   2         2          10     80.0%  35.6% to 97.4%" in printed
    assert "Mean of the folds 85.0%, from 75.0% to 100.0%." in printed
    assert "All 24 answers: 87.5%, 95 % interval " in printed
    assert "These are 3 networks, each trained on a part" in printed
    assert "Each training also has 159 clips that kws listen --keep has heard" in printed
    folder = project / "plots" / "folds"
    assert (folder / "folds.csv").read_text().splitlines()[2] == "2,2,10,0.8,0.35551,0.973529"
    assert (folder / "folds.png").stat().st_size > 10_000
    assert (folder / "report.txt").read_text() in printed
    assert (project / "params.yaml").read_text() == before  # nobody goes on with the last fold unknowingly


def test_a_fold_that_fails_ends_the_series_with_its_exit_code(project, monkeypatch):
    before = (project / "params.yaml").read_text()

    def fail(command, *, check):  # noqa: ARG001
        (project / "params.yaml").write_text("fold: 1/3\n")
        raise subprocess.CalledProcessError(255, command)

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(sys, "argv", ["folds", "fast", "", "3"])
    with pytest.raises(SystemExit) as ended:
        folds.main()
    assert ended.value.code == 255
    assert (project / "params.yaml").read_text() == before
    assert not (project / "plots" / "folds").exists()


@pytest.mark.parametrize("number", ["1", "", "five", "100", "-3"])
@pytest.mark.usefixtures("project")
def test_a_number_of_folds_that_is_none_is_refused_in_a_line(monkeypatch, number):
    monkeypatch.setattr(sys, "argv", ["folds", "fast", "", number])
    with pytest.raises(SystemExit, match=f"^error: N={number}: give the number of folds, 2 to 99$"):
        folds.main()


def test_where_nobody_knows_who_speaks_the_report_does_not_say_that_people_are_new():
    rows = folds.fold_rows(FOLDS)
    assert "Nobody was tested by a network that had heard them." in folds.report(rows, named=True, kept=0, computed=0)
    unknown = folds.report(rows, named=False, kept=0, computed=0)
    assert "Nobody was tested" not in unknown
    assert "training may contain people of the test, and the accuracy may be" in unknown


def test_what_was_heard_in_a_house_may_be_people_of_the_test():
    rows = folds.fold_rows(FOLDS)
    assert "kws listen" not in folds.report(rows, named=True, kept=0, computed=0)
    assert "has 159 clips that kws listen --keep has heard, and nobody knows who" in folds.report(
        rows, named=True, kept=159, computed=0
    )
