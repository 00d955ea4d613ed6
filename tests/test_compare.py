import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kws.commands import compare
from kws.core.errors import UserError
from kws.evaluate.answers import Answers, write_answers
from kws.evaluate.pairing import Answered, anonymous, paired_test
from kws.recordings.background import NOBODY


def answered(correct) -> Answered:
    clips = len(correct)
    speakers = (np.arange(clips) // 10).astype(str)
    return Answered(np.array([f"{n}" for n in range(clips)]), speakers, np.array(correct, bool))


def test_validation_decides_and_the_test_is_told_beside_the_number_of_experiments():
    worse, better = [n % 10 > 2 for n in range(200)], [n % 10 > 0 for n in range(200)]
    a, b = compare.Experiment(answered(worse), answered(better)), compare.Experiment(answered(better), answered(worse))
    validation, test = compare.compare(a, b, experiments=12).split("\n\n")
    assert validation.startswith("Validation, to choose by:\n  A: 70.00% (")
    assert "); B: 90.00% (" in validation
    assert "200 clips\n  B minus A: +20.00 points, 95 % interval +" in validation
    assert "(for other people, from 20)" in validation
    assert "only A right: 0, only B right: 40" in validation
    assert validation.endswith("B is better.")
    assert test.startswith("Test, to report once, of the one that validation has chosen:\n  A: 90.00% (")
    assert "B minus A: -20.00 points" in test
    assert "12 experiments are in this workspace. If you choose by the test" in test
    assert "B is worse." in compare.compare(b, a, 1)
    assert "1 experiment is in" in compare.compare(b, a, 1)
    assert "B is not known to differ." in compare.compare(a, a, 0)


def test_networks_asked_about_other_clips_are_not_compared():
    three, two = (compare.Experiment(answered([True] * n), answered([True] * n)) for n in (3, 2))
    with pytest.raises(UserError, match="the clips differ \\(3 and 2, 2 in common\\)"):
        compare.compare(three, two, 1)


def test_where_the_test_clips_alone_differ_validation_decides_and_the_test_says_so():
    worse, better = [n % 10 > 2 for n in range(200)], [n % 10 > 0 for n in range(200)]
    a = compare.Experiment(answered(worse), answered([True] * 3))
    b = compare.Experiment(answered(better), answered([True, False]))
    validation, test = compare.compare(a, b, 2).split("\n\n")
    assert validation.endswith("B is better.")
    assert "; B: 50.00% (0.0% to 100.0%); not the same clips: the clips differ (3 and 2, 2 in common)\n" in test
    assert "McNemar" not in test


def test_where_no_name_tells_who_speaks_the_difference_is_for_other_clips():
    given = answered([True] * 20)
    unnamed = replace(given, speakers=np.array([f"yes/{n}.wav" for n in range(20)]))
    one = compare.Experiment(unnamed, given)
    validation, test = compare.compare(one, one, 1).split("\n\n")
    assert "(for other clips; who speaks is unknown)" in validation
    assert "(for other people, from 2)" in test


def test_silence_is_nobodys_and_counts_as_no_person():
    """200 clips of 20 people, the last 100 of them silence that kws made."""
    given = answered([True] * 200)
    speakers = np.append(given.speakers[:100], [f"{NOBODY}{n}" for n in range(100)])
    one = compare.Experiment(replace(given, speakers=speakers), given)
    assert "(for other people, from 10)" in compare.compare(one, one, 1).split("\n\n")[0]


def test_computed_voices_are_left_out_since_other_voices_may_have_the_same_names():
    """`synthetic_variety` changes what the voices sound like, and not what their clips are called."""
    people, better = answered([n % 10 > 2 for n in range(200)]), answered([n % 10 > 1 for n in range(200)])
    made = answered([True] * 30)
    made = replace(made, names=np.char.add("_computed_/kettle/", made.names))
    mixed = Answered(*(np.concatenate(parts) for parts in zip(vars(people).values(), vars(made).values(), strict=True)))
    a, b = compare.Experiment(mixed, mixed), compare.Experiment(better, mixed)
    text = compare.compare(a, b, 2)
    assert text.startswith(compare.compare(compare.Experiment(people, people), compare.Experiment(better, people), 2))
    assert text.endswith("\nClips of computed voices are left out of validation and test (A: 60, B: 30).")
    with pytest.raises(UserError, match=r"^computed voices say all validation or all test clips of A or B"):
        compare.compare(compare.Experiment(made, people), b, 2)


def test_the_paired_test_of_answers_without_names_is_the_same():
    rng = np.random.default_rng(0)
    speakers = np.array([f"{who}" for who in np.repeat(["ada", "bo", "cy"], 20)] + [f"{NOBODY}{n}" for n in range(60)])
    names = np.arange(120).astype(str)
    first, second = (Answered(names, speakers, rng.random(120) < share) for share in (0.7, 0.9))
    test = paired_test(first, second)
    assert paired_test(anonymous(first), anonymous(second)) == test
    apart = [replace(one, speakers=np.arange(120).astype(str)) for one in (first, second)]
    assert paired_test(*apart).interval != test.interval
    assert not {"ada", "bo", "cy"} & set(anonymous(first).speakers)


def answer(path, predicted) -> None:
    answers = Answers(
        names=np.array(["b.wav", "a.wav"]),
        speakers=np.array(["bo", "al"]),
        labels=np.array([0, 1]),
        probabilities=np.eye(2, dtype=np.float32)[predicted],
        embeddings=np.zeros((2, 3), np.float32),
    )
    write_answers(path, answers, ["no", "yes"], synthetic=False)


def test_experiments_are_compared_by_their_names_in_git(tmp_path, monkeypatch, capsys):
    def run(*command):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    run("git", "init", "-q", "-b", "main")
    run("git", "config", "user.email", "a@b.c")
    run("git", "config", "user.name", "a")
    run("dvc", "init", "-q")
    for revision, predicted in (("old", [0, 0]), ("one", [0, 0]), ("two", [0, 1])):
        for name in ["answers.npz"] if revision == "old" else ["answers.npz", "validation.npz"]:
            answer(tmp_path / "data" / name, predicted)
            run("dvc", "add", "-q", f"data/{name}")
        run("git", "add", "-A")
        run("git", "commit", "-qm", revision)
        run("git", "tag", revision)
    monkeypatch.chdir(tmp_path)
    found = compare.read_experiment("one").validation
    assert found.names.tolist() == ["a.wav yes", "b.wav no"]
    assert (found.speakers.tolist(), found.correct.tolist()) == (["al", "bo"], [False, True])
    monkeypatch.setattr(sys, "argv", ["compare", "one", "two"])
    compare.main()
    printed = capsys.readouterr().out
    assert printed.count("A: 50.00%") == printed.count("B: 100.00%") == 2
    assert "0 experiments are in this workspace" in printed
    for revisions, message in (
        (["one", ""], "error: give two experiments"),
        (["one", "three"], r"error: three: .*an experiment's name"),
        (["old", "one"], r"error: old: it has no data/validation.npz, as experiments have that this version of kws"),
    ):
        monkeypatch.setattr(sys, "argv", ["compare", *revisions])
        with pytest.raises(SystemExit, match=f"^{message}"):
            compare.main()
