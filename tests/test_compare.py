import subprocess
import sys

import numpy as np
import pytest

from kws.commands import compare
from kws.core.errors import UserError
from kws.evaluate.answers import Answers, write_answers
from kws.evaluate.pairing import Answered


def answered(correct) -> Answered:
    clips = len(correct)
    return Answered(np.array([f"{n}" for n in range(clips)]), np.arange(clips) % 10, np.array(correct, bool))


def test_a_better_network_is_called_better_with_points_and_interval():
    worse, better = [n % 10 > 2 for n in range(200)], [n % 10 > 0 for n in range(200)]
    said = compare.compare(answered(worse), answered(better))
    assert said.startswith("A: 70.00%, B: 90.00% of 200 test clips\nB minus A: +20.00 points")
    assert "only A right: 0, only B right: 40" in said
    assert "not known to differ" in compare.compare(answered(worse), answered(worse))


def test_networks_tested_on_other_clips_are_not_compared():
    with pytest.raises(UserError, match="the test clips differ \\(3 and 2, 2 in common\\)"):
        compare.compare(answered([True] * 3), answered([True] * 2))


def answer(project, predicted) -> None:
    answers = Answers(
        names=np.array(["b.wav", "a.wav"]),
        speakers=np.array(["bo", "al"]),
        labels=np.array([0, 1]),
        probabilities=np.eye(2, dtype=np.float32)[predicted],
        embeddings=np.zeros((2, 3), np.float32),
    )
    write_answers(project / "data" / "answers.npz", answers, ["no", "yes"], synthetic=False)


def test_experiments_are_compared_by_their_names_in_git(tmp_path, monkeypatch, capsys):
    def run(*command):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    run("git", "init", "-q", "-b", "main")
    run("git", "config", "user.email", "a@b.c")
    run("git", "config", "user.name", "a")
    run("dvc", "init", "-q")
    for revision, predicted in (("one", [0, 0]), ("two", [0, 1])):
        answer(tmp_path, predicted)
        run("dvc", "add", "-q", "data/answers.npz")
        run("git", "add", "-A")
        run("git", "commit", "-qm", revision)
        run("git", "tag", revision)
    monkeypatch.chdir(tmp_path)
    found = compare.answers_of("one")
    assert found.names.tolist() == ["a.wav yes", "b.wav no"]
    assert (found.speakers.tolist(), found.correct.tolist()) == (["al", "bo"], [False, True])
    monkeypatch.setattr(sys, "argv", ["compare", "one", "two"])
    compare.main()
    assert "A: 50.00%, B: 100.00% of 2 test clips" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["compare", "one", ""])
    with pytest.raises(SystemExit, match="error: give two experiments"):
        compare.main()
    monkeypatch.setattr(sys, "argv", ["compare", "one", "three"])
    with pytest.raises(SystemExit, match=r"error: three: .*an experiment's name"):
        compare.main()
