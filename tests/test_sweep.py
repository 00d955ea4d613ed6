"""Sweeps. A program in place of `dvc` pretends to train, but for the last test."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import postgres
import pytest
import yaml
from conftest import ROOT, SOURCE, make_spec

pytest.importorskip("optuna", reason="needs Optuna (extra sweep)")

import optuna
from optuna.trial import TrialState

from kws.commands import sweep
from kws.commands.exp import overrides
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import read_csv
from kws.core.params import Params, load_params, read_yaml
from kws.sweep import copy, report, space, study, worker
from kws.sweep.study import SharedStudy, Taken
from kws.tracking.run import tracked_run

SPACE = """preset: fast
set: {epochs: 4}
search:
  label_smoothing: {low: 0.0, high: 0.4}
  batch_size: [16, 32, 64]
"""
OF_THE_COMMIT = ("metrics/evaluate.json", "models/README.md", "plots/evaluate/confusion.png", "plots/train/curves.png")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A committed project whose `dvc` pretends to train, with a space `tiny`; the current folder is there."""
    root = tmp_path / "project"
    for name in ("presets", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "versions.yaml"):
        shutil.copy(ROOT / name, root)
    committed = subprocess.check_output(["git", "show", "HEAD:params.yaml"], cwd=ROOT, text=True)
    (root / "params.yaml").write_text(committed)
    (root / "src").mkdir()
    (root / "src" / "code.py").write_text("")
    (root / "presets" / "sweeps" / "tiny.yaml").write_text(SPACE)
    (root / "metrics").mkdir()
    (root / "metrics" / "evaluate.json").write_text('{"accuracy": 0.99}')
    for name in OF_THE_COMMIT[1:]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("of another network")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    remote = team\n['remote \"team\"']\n    url = ../beside\n")
    (root / ".dvc" / ".gitignore").write_text("/config.local\n")
    (root / ".gitignore").write_text("/.scratch/\n/sweeps.db*\n/data/\n/pretended/\n/trained.txt\n/bin/\n")
    (root / "pretended").mkdir()
    (root / "pretended" / "source.json").write_text(json.dumps(SOURCE.to_json()))
    (root / "pretended" / "spec.json").write_text(json.dumps(make_spec(train=800, validation=100).to_json()))
    program = root / "bin" / "dvc"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tests" / "pretend_dvc.py"}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "me")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "me@example.org")
    for variable in ("DVC_ROOT", "KWS_CURVE", "KWS_TRACKING", "PYTHONPATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(copy, "POLL", 0.05)
    monkeypatch.chdir(root)
    git("init", "--quiet", "--initial-branch=main")
    commit()
    return root


def git(*words: str) -> str:
    return subprocess.check_output(["git", *words], text=True).strip()


def commit() -> None:
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")


def run(*arguments: str, trials: int = 6) -> str:
    """Runs a worker in this process: SPACE, TRIALS, STUDY, STORAGE, PUSH and SET; what it would print at its end."""
    given = dict(zip(("study", "storage", "push", "set"), arguments, strict=False))
    words = ["presets/sweeps/tiny.yaml", str(trials), *(given.get(n, "") for n in ("study", "storage", "push", "set"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sweep", *words])
        sweep.main()
    return ""


def table(name: str = "tiny") -> list[dict[str, str]]:
    return read_csv(Path("plots/sweep") / name / "study.csv")


def experiments() -> list[str]:
    return sorted(ref.rpartition("/")[2] for ref in git("for-each-ref", "--format=%(refname)", "refs/exps").split())


def begun() -> list[str]:
    """The experiments whose training has begun, again and again."""
    return [line.split()[0] for line in Path("trained.txt").read_text().splitlines()]


def open_study(name: str = "tiny") -> SharedStudy:
    return SharedStudy.open(f"sqlite:///{Path.cwd() / 'sweeps.db'}", name)


def suggest(trial: optuna.Trial) -> dict[str, float]:
    return {"x": trial.suggest_float("x", 0, 1)}


def take(one: SharedStudy, wanted: int = 3) -> Taken:
    taken, _ = one.take(wanted, suggest)
    assert taken
    return taken


def fall_silent(one: SharedStudy, taken: Taken) -> None:
    """As if the worker of a trial had been killed long ago."""
    import sqlalchemy as sql

    with one._storage.engine.begin() as connection:
        connection.execute(
            sql.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00' WHERE trial_id = :id"),
            {"id": taken.id},
        )


# The space


@pytest.mark.parametrize("path", sorted((ROOT / "presets" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_space_of_the_project_is_allowed(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    search = sweep.read_search(path.relative_to(ROOT), "20", [])
    names = {setting.partition("=")[0] for setting in search.overrides_of(search.space.suggest(_middle()))}
    assert names == {*read_yaml(ROOT / "presets" / f"{search.space.preset}.yaml"), *search.space.search}


def _middle() -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()


def test_values_are_whole_where_the_parameter_is_and_else_have_three_digits():
    search = {
        "time_masks": {"low": 0.0, "high": 3.0},
        "learning_rate": {"low": 0.0005, "high": 0.01, "log": True},
        "causal": [True, False],
    }
    asked = space.Space.model_validate({"preset": "fast", "search": search})
    for seed in range(20):
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
        values = asked.suggest(trial)
        assert values["time_masks"] in (0, 1, 2, 3)
        assert isinstance(values["time_masks"], int)
        assert re.fullmatch(r"0\.0*[1-9]\d{0,2}", f"{values['learning_rate']}")
        assert abs(values["learning_rate"] / trial.params["learning_rate"] - 1) < 0.006
        assert values["causal"] is trial.params["causal"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {width: [1.0, 2.0]}", "tiny.yaml: preset: Field required"),
        ("preset: fast\nsearch: {}", "tiny.yaml: search: Dictionary should have at least 1 item"),
        ("preset: fast\nsearch: {width: {low: 2.0}}", "tiny.yaml: search.width: Field required"),
        ("preset: fast\nsearch: {width: {low: 2.0, high: 1.0}}", "low, 2, is not below high, 1"),
        ("preset: fast\nsearch: {width: {low: 0.0, high: 1.0, log: true}}", "log: low, 0, must be above 0"),
        ("preset: fast\nsearch: {words: [yes, no]}", "search: words is not what training or the front end reads"),
        ("preset: fast\nsearch: {seed: [1, 2]}", "search: seed is not what training or the front end reads, or"),
        ("preset: fast\nsearch: {model: {low: 1.0, high: 2.0}}", "search: model is no number; give a list of values"),
        ("preset: fast\nsearch: {width: [1.0]}", "search: width: [1.0] is no choice; give two values"),
        ("preset: fast\nset: {width: 1.0}\nsearch: {width: [1.0, 2.0]}", "width is in set and in search"),
        ("preset: fast\nsearch: {width: [1.0, 20.0]}", "search: width: 20.0 is refused: Input should be less than or"),
        ("preset: fast\nsearch: {time_masks: {low: 0.5, high: 2.0}}", "search: time_masks: 0.5 is refused"),
        (
            "preset: fast\nset: {widths: 1.0}\nsearch: {width: [1.0, 2.0]}",
            "its preset or SET: widths: no such parameter",
        ),
        ("preset: fast\nset: {width: 99}\nsearch: {epochs: [1, 2]}", "its preset or SET: width: 99 is refused"),
        ("preset: fastest\nsearch: {width: [1.0, 2.0]}", "PRESET=fastest: no such preset"),
    ],
)
def test_a_space_that_is_not_allowed_is_one_line(project, text, message):
    (project / "presets" / "sweeps" / "tiny.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        run()
    assert str(ended.value).startswith("error: ")
    assert message in str(ended.value)
    assert "\n" not in str(ended.value)
    assert not (project / "sweeps.db").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["presets/sweeps/none.yaml", "3", "", "", "", ""],
            "no such file; the spaces are presets/sweeps/tiny.yaml, pr",
        ),
        (["presets/sweeps/tiny.yaml", "some", "", "", "", ""], "TRIALS=some: give the number of trials, 1 to 10000"),
        (["presets/sweeps/tiny.yaml", "3", "../up", "", "", ""], "STUDY=../up: it names experiments and files"),
        (
            ["presets/sweeps/tiny.yaml", "3", "", "mysql://u:se/secret@h/d", "", ""],
            "STORAGE=mysql://h/d: give postgresql:",
        ),
        (["presets/sweeps/tiny.yaml", "3", "", "nonsense", "", ""], "STORAGE=nonsense…: this is no address of a data"),
        (
            ["presets/sweeps/tiny.yaml", "3", "", "postgresql://u:secret@h:port/d", "", ""],
            "STORAGE=postgresql…: this is no address of a database; give postgresql://user@host/database",
        ),
        (
            ["presets/sweeps/tiny.yaml", "3", "", "", "away", ""],
            "git remote get-url away: error: No such remote 'away'",
        ),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_mistake_of_the_command_is_one_line(monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["sweep", *words])
    with pytest.raises(SystemExit) as ended:
        sweep.main()
    assert message in str(ended.value)
    assert "secret" not in str(ended.value)


# The study


@pytest.mark.usefixtures("project")
def test_workers_take_each_trial_once_and_no_two_take_the_same_values():
    first, second = open_study(), open_study()
    taken = [take(first, 4), take(second, 4), take(first, 4), take(second, 4)]
    assert [one.number for one in taken] == [1, 2, 3, 4]
    assert len({one.values["x"] for one in taken}) == 4
    assert first.take(4, suggest) == (None, 4)
    assert all(first.settle(one, TrialState.COMPLETE, {}, 0.5) for one in taken)
    assert second.take(4, suggest) == (None, 0)
    assert take(second, 5).number == 5  # more are wanted than before


@pytest.mark.usefixtures("project")
def test_a_trial_whose_worker_was_killed_is_run_again_once():
    one = open_study()
    killed, other = take(one, 2), take(one, 2)
    one.report(killed, [{"epoch": 1, "validation_accuracy": 0.5}], math.inf)
    assert one.take(2, suggest) == (None, 2)  # it is alive
    fall_silent(one, killed)
    again = take(one, 2)
    assert (again.number, again.values) == (killed.number, killed.values)
    assert one._storage.get_trial(again.id).intermediate_values == {1: 0.5}  # a training that resumes goes on there
    assert one.take(2, suggest) == (None, 2)
    fall_silent(one, again)
    assert one.take(2, suggest) == (None, 1)
    assert one.settle(other, TrialState.COMPLETE, {"validation_loss": 0.1, "data": {}}, 0.5)
    rows = report.trial_rows(one)
    assert [(row["trial"], row["state"], row["runs"], row["killed_runs"]) for row in rows] == [
        (1, "killed", 2, 2),
        (2, "whole", 1, 0),
    ]
    assert "Without a result, since their workers were killed twice: trial 1." in report.report(one, rows[:1], {}, 2)


@pytest.mark.usefixtures("project")
def test_a_worker_may_be_killed_before_its_first_sign_of_life():
    one = open_study()
    with pytest.warns(UserWarning, match="Heartbeat of storage"):
        one.study.ask()  # and then killed: Optuna would wait for it for ever
    again = take(one, 1)
    assert (again.number, len(one.trials())) == (1, 2)
    assert one.settle(again, TrialState.COMPLETE, {}, 0.5)


@pytest.mark.usefixtures("project")
def test_a_worker_may_be_killed_while_it_takes_up_a_killed_trial(monkeypatch):
    one = open_study()
    killed = take(one, 1)
    fall_silent(one, killed)
    with monkeypatch.context() as patch:  # after the trial is marked as failed, before it is put back
        patch.setattr(study, "RetryHeartbeatStaleTrialCallback", lambda **_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            one.take(1, suggest)
    assert [trial.state for trial in one.trials()] == [TrialState.FAIL]
    again = take(one, 1)
    assert (again.number, again.values, len(one.trials())) == (1, killed.values, 2)


@pytest.mark.usefixtures("project")
def test_a_worker_that_was_silent_for_too_long_changes_nothing_any_more():
    one = open_study()
    slow = take(one, 1)
    fall_silent(one, slow)
    again = take(one, 1)
    for epochs in ([{"epoch": 1, "validation_accuracy": 0.5}], []):
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            one.report(slow, epochs, math.inf)
    assert not one.settle(slow, TrialState.COMPLETE, {}, 0.9)
    assert one.settle(again, TrialState.COMPLETE, {}, 0.4)
    assert [trial.value for trial in one.trials()] == [None, 0.4]


@pytest.mark.usefixtures("project")
def test_a_trial_that_was_stopped_by_hand_is_run_again_and_may_still_be_killed_once():
    one = open_study()
    for _ in range(2):
        one.put_back(take(one, 1), {"cpu_seconds": 3.0})
    killed = take(one, 1)
    fall_silent(one, killed)
    last = take(one, 1)
    assert last.number == 1
    assert one.settle(last, TrialState.COMPLETE, {"cpu_seconds": 4.0}, 0.5)
    [row] = report.trial_rows(one)
    assert (row["state"], row["runs"], row["killed_runs"], row["cpu_seconds"]) == ("whole", 4, 1, 10.0)


@pytest.mark.usefixtures("project")
def test_a_worker_may_be_killed_while_it_puts_its_trial_back():
    one = open_study()
    taken = take(one, 1)
    taken.trial.set_user_attr("reason", study.PUT_BACK)  # and then killed
    fall_silent(one, taken)
    again = take(one, 1)
    assert (again.number, again.values) == (1, taken.values)
    assert one.settle(again, TrialState.COMPLETE, {}, 0.5)


@pytest.mark.usefixtures("project")
def test_a_worker_may_be_killed_while_it_begins_a_study(monkeypatch):
    one = open_study()
    write = type(one.study).set_user_attr

    def killed(self, name, value):
        if name == "commit":
            sys.exit("killed")
        write(self, name, value)

    with monkeypatch.context() as patch:
        patch.setattr(type(one.study), "set_user_attr", killed)
        with pytest.raises(SystemExit):
            one.agree({"overrides": ["width=1"], "search": {}}, lambda: "abc")
    assert one.agree({"overrides": ["width=2"], "search": {}}, lambda: "def") == "def"
    with pytest.raises(UserError, match="there width=2; here width=1"):
        one.agree({"overrides": ["width=1"], "search": {}}, lambda: "abc")


@pytest.mark.usefixtures("project")
def test_what_differs_between_workers_is_told_without_passwords():
    one = open_study()
    for number, end in ((1, ""), (2, "there dataset=https://h/a.zip; here dataset=https://h/a.zip")):
        identity = {"overrides": [f"dataset='https://ann:secret{number}@h/a.zip?key=secret'"], "search": {}}
        if not end:
            one.agree(identity, lambda: "abc")
            continue
        with pytest.raises(UserError, match=re.escape(f"({end})")):
            one.agree(identity, lambda: "abc")


def test_what_a_database_says_is_told_and_not_what_optuna_makes_of_it():
    error = optuna.exceptions.StorageInternalError("This typically happens due to invalid data in the commit")
    error.__cause__ = OSError("server closed the connection unexpectedly\n\tThis probably means")
    assert study.database_reason(error) == "server closed the connection unexpectedly"


@pytest.mark.usefixtures("project")
def test_a_database_of_another_program_is_refused_before_anything_is_written():
    import sqlite3

    with sqlite3.connect("other.db") as other:
        other.execute("CREATE TABLE alembic_version (version_num TEXT)")
    with pytest.raises(UserError, match="another program, such as MLflow, has its tables in this database"):
        SharedStudy.open("sqlite:///other.db", "tiny")
    with sqlite3.connect("other.db") as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("alembic_version",)]


# A worker


@pytest.mark.usefixtures("project")
def test_a_training_tells_its_epochs_to_a_sweep_whether_or_not_mlflow_records_it(monkeypatch, make_params):
    monkeypatch.setenv("KWS_TRACKING", "off")
    monkeypatch.setenv("KWS_CURVE", "the.curve")
    rows = [{"epoch": 1, "validation_accuracy": 0.5}, {"epoch": 2, "validation_accuracy": 0.75}]
    with tracked_run(make_params(), "train") as training:
        for row in rows:
            training.log_epoch(row)
    with Path("the.curve").open("a") as half:
        half.write('{"epoch": 3')  # the training is just writing it
    followed = copy.ProjectCopy(Path.cwd(), Path("the"), "abc", "")
    assert followed.epochs() == rows


def test_a_sweep_gives_experiments_a_table_pictures_and_a_preset_and_leaves_the_workspace_alone(project, capsys):
    (project / "README.md").write_text("changed while the sweep runs\n")
    run()
    printed = capsys.readouterr().out
    rows = table()
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert {row["state"] for row in rows} == {"whole"}
    assert experiments() == [f"tiny-{number}" for number in range(1, 7)] == sorted(begun())
    for row in rows:
        assert float(row["validation_accuracy"]) == pytest.approx(1 - float(row["label_smoothing"]), abs=1e-5)
        [ref] = git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{row['experiment']}").split()
        params = yaml.safe_load(git("show", f"{ref}:params.yaml"))
        assert (params["label_smoothing"], params["batch_size"]) == (
            float(row["label_smoothing"]),
            int(row["batch_size"]),
        )
        assert (params["epochs"], params["model"]) == (4, "matchboxnet")
        assert "# clips, 1 to 4096" in git("show", f"{ref}:params.yaml")  # the comments are still there
        assert json.loads(git("show", f"{ref}:metrics/train.json"))["validation_accuracy"] == float(
            row["validation_accuracy"]
        )
        files = git("ls-tree", "-r", "--name-only", ref).splitlines()
        assert {"metrics/train.json", "plots/train/history.csv"} <= set(files)
        assert not set(OF_THE_COMMIT) & set(files)  # no later stage has run
        assert git("rev-parse", f"{ref}^") == git("rev-parse", "HEAD")
    assert set(git("status", "--porcelain", "--untracked-files=all").split("\n")) == {
        *("?? README.md", "?? presets/found/tiny.yaml", "?? plots/sweep/tiny/importance.png"),
        *(f"?? plots/sweep/tiny/{name}" for name in ("report.txt", "study.csv", "study.png")),
    }
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))
    assert f"Best is trial {best['trial']}: validation accuracy" in printed
    assert sorted(path.name for path in Path(".scratch/sweeps").iterdir()) == ["1.lock", "1.log"]
    assert "It is the best of 6 on the same validation clips, with one seed" in printed

    text = Path("presets/found/tiny.yaml").read_text()
    found = read_yaml(Path("presets/found/tiny.yaml"))
    assert found == read_yaml(Path("presets/fast.yaml")) | {
        "epochs": 4,
        "label_smoothing": float(best["label_smoothing"]),
        "batch_size": int(best["batch_size"]),
    }
    Params.model_validate(load_params().model_dump() | found)
    assert "It cost 6 trials (6 whole, 0 stopped early, 0 failed) and 0." in text
    assert "Data: speech_commands, SHA-256 abc123, 800 clips in training." in text
    assert f"validation accuracy {float(best['validation_accuracy']):.2%} on 100 clips." in text
    assert "# It is the best of 6 on the same validation clips, with one seed" in text
    assert git("rev-parse", "HEAD") in text
    assert Path("plots/sweep/tiny/study.png").stat().st_size > 10_000

    run()  # the study has its trials
    assert len(begun()) == 6
    run(trials=7)
    assert len(begun()) == 7


@pytest.mark.usefixtures("project")
def test_the_preset_that_was_found_gives_the_parameters_of_the_best_trial():
    run("", "", "", "words=[on,off] dataset='my recordings'", trials=2)
    best = max(table(), key=lambda row: float(row["validation_accuracy"]))
    [ref] = git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{best['experiment']}").split()
    Path("best.yaml").write_text(git("show", f"{ref}:params.yaml"))
    shutil.copy("params.yaml", "again.yaml")
    copy.set_params(Path("again.yaml"), overrides("found/tiny", []))
    assert load_params(Path("again.yaml")) == load_params(Path("best.yaml"))
    assert load_params(Path("again.yaml")).words == ("on", "off")


@pytest.mark.usefixtures("project")
def test_what_explains_the_differences_between_trials_is_important(capsys):
    run(trials=12)
    shares = report.importances(open_study())
    assert list(shares) == ["label_smoothing", "batch_size"]
    assert shares["label_smoothing"] > 0.9
    assert "Importance of the parameters: label_smoothing 9" in capsys.readouterr().out


def test_a_hopeless_trial_is_stopped_with_its_training_and_leaves_nothing(project, monkeypatch, capsys):
    monkeypatch.setattr(study, "WARMUP", 2)
    text = SPACE.replace("epochs: 4", "epochs: 40").replace("{low: 0.0, high: 0.4}", "[0.1, 0.9]")
    (project / "presets" / "sweeps" / "tiny.yaml").write_text(text)
    monkeypatch.setenv("KWS_PRETEND_SECONDS", "0.02")
    rank = iter([0.1, 0.1, 0.9])
    monkeypatch.setattr(space.Space, "suggest", lambda *_: {"label_smoothing": next(rank), "batch_size": 16})
    checkpoint = project / ".scratch" / "training" / "abc" / "0003"
    checkpoint.mkdir(parents=True)
    other = checkpoint.parent.parent / "def" / "0001"
    other.mkdir(parents=True)
    (other / "history.json").write_text("[]")
    follow = copy.ProjectCopy.forget_training

    def forget(self, epochs):
        (checkpoint / "history.json").write_text(json.dumps(epochs))
        follow(self, epochs)

    monkeypatch.setattr(copy.ProjectCopy, "forget_training", forget)
    run(trials=3)
    rows = table()
    assert [row["state"] for row in rows] == ["whole", "whole", "stopped"]
    assert 13 < int(rows[2]["epochs"]) < 40  # a third of the epochs is not judged
    assert rows[2]["experiment"] == ""
    assert float(rows[2]["validation_accuracy"]) < 0.1
    assert experiments() == ["tiny-1", "tiny-2"]
    process = int(Path("trained.txt").read_text().splitlines()[-1].split()[1])
    assert not Path(f"/proc/{process}").exists() or "Z" in Path(f"/proc/{process}/stat").read_text()
    assert not checkpoint.parent.exists()
    assert other.exists()
    assert "trial 3: stopped after epoch" in capsys.readouterr().out
    assert "3 trials (2 whole, 1 stopped early, 0 failed)" in Path("presets/found/tiny.yaml").read_text()


def test_trials_with_other_numbers_of_epochs_are_not_stopped(project, monkeypatch):
    monkeypatch.setattr(study, "WARMUP", 1)
    text = SPACE.replace("set: {epochs: 4}\n", "").replace("{low: 0.0, high: 0.4}", "[0.1, 0.9]")
    (project / "presets" / "sweeps" / "tiny.yaml").write_text(text + "  epochs: [20, 40]\n")
    monkeypatch.setenv("KWS_PRETEND_SECONDS", "0.02")
    values = iter([(0.1, 20), (0.1, 40), (0.9, 40)])

    def suggest(*_) -> dict[str, float]:
        smoothing, epochs = next(values)
        return {"label_smoothing": smoothing, "batch_size": 16, "epochs": epochs}

    monkeypatch.setattr(space.Space, "suggest", suggest)
    run(trials=3)
    assert [(row["state"], row["epochs"]) for row in table()] == [("whole", "20"), ("whole", "40"), ("whole", "40")]


@pytest.mark.usefixtures("project")
def test_a_training_of_another_worker_may_end_an_epoch_while_one_is_forgotten(monkeypatch):
    mine = paths.scratch("training") / "abc" / "0003" / "history.json"
    mine.parent.mkdir(parents=True)
    mine.write_text('[{"epoch": 3}]')
    gone = mine.parent.parent.parent / "def" / "0001" / "history.json"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", lambda *_: iter([gone, mine]))
        copy.ProjectCopy(Path.cwd(), Path("the"), "abc", "").forget_training([{"epoch": 3}])
    assert not mine.parent.parent.exists()


def test_trials_that_fail_say_why_and_three_in_a_row_end_the_worker(project, capsys):
    text = SPACE.replace("{low: 0.0, high: 0.4}", "[0.1, 0.2]").replace("{epochs: 4}", "{learning_rate: 0.9}")
    (project / "presets" / "sweeps" / "tiny.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        run()
    reason = "epoch 1: the validation loss is nan; lower learning_rate"
    log = ".scratch/sweeps/1.log"
    assert str(ended.value) == (
        f"error: 3 trials failed one after the other; the last one: {reason} (all that it printed: {log})"
    )
    assert Path(log).read_text().startswith("a line\nerror: epoch 1")
    assert f"trial 1: failed: {reason}" in capsys.readouterr().out
    rows = report.trial_rows(open_study())
    assert [(row["state"], row["reason"], row["experiment"]) for row in rows] == 3 * [("failed", reason, "")]


def test_values_that_do_not_fit_together_fail_without_a_training(project, capsys):
    text = "preset: fast\nset: {epochs: 4}\nsearch: {frame_length: [480, 2048], fft_length: [512, 4096]}\n"
    (project / "presets" / "sweeps" / "tiny.yaml").write_text(text)
    run(trials=8)
    rows = table()
    failed = [row for row in rows if row["state"] == "failed"]
    assert failed
    assert len(begun()) == len(rows) - len(failed)
    for row in failed:
        assert (row["frame_length"], row["fft_length"]) == ("2048", "512")
        assert "fft_length: 512 cuts the frame; at least frame_length, 2048" in row["reason"]
    assert f"Trial {failed[0]['trial']} failed: " in capsys.readouterr().out


def test_a_study_begins_at_a_commit_and_stays_there(project):
    (project / "src" / "code.py").write_text("changed = True\n")
    with pytest.raises(
        SystemExit, match=r"error: src/code\.py: differs from the last commit, at which all trials begin"
    ):
        run()
    git("checkout", "--quiet", "src")
    run(trials=1)
    before = git("rev-parse", "HEAD")
    (project / "src" / "code.py").write_text("changed = True\n")
    commit()
    run(trials=2)
    for row in table():
        [ref] = git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{row['experiment']}").split()
        assert git("rev-parse", f"{ref}^") == before
        assert git("show", f"{ref}:src/code.py") == ""


@pytest.mark.usefixtures("project")
def test_a_worker_with_another_space_or_other_settings_is_refused():
    run(trials=1)
    with pytest.raises(SystemExit) as ended:
        run("", "", "", "width=2.0", trials=2)
    assert "STUDY=tiny: it was begun with another SPACE, preset or SET (here width=2.0); give anoth" in str(ended.value)
    path = Path("presets/sweeps/tiny.yaml")
    path.write_text(path.read_text().replace("[16, 32, 64]", "[16, 32]"))
    with pytest.raises(SystemExit, match=r"\(search: batch_size\); give another STUDY"):
        run(trials=2)
    run("other", trials=1)
    assert experiments() == ["other-1", "tiny-1"]


def test_a_worker_with_other_recordings_is_refused_and_its_trial_is_left_to_others(project):
    run(trials=1)
    other = project / "pretended" / "source.json"
    other.write_text(json.dumps(replace(SOURCE, sha256="fff").to_json()))
    with pytest.raises(SystemExit, match=r"not those of the study's other trials \(SHA-256 abc123 there, fff here\)"):
        run(trials=2)
    other.write_text(json.dumps(SOURCE.to_json()))
    run(trials=2)
    assert [(row["state"], row["runs"]) for row in table()] == [("whole", "1"), ("whole", "2")]
    assert experiments() == ["tiny-1", "tiny-2"]


def test_a_new_study_does_not_replace_the_experiments_of_an_older_one(project):
    run(trials=2)
    before = git("for-each-ref", "refs/exps")
    (project / "sweeps.db").unlink()
    with pytest.raises(
        SystemExit, match=r"experiments of an older study have its name \(tiny-1, tiny-2\): give another"
    ):
        run(trials=2)
    assert git("for-each-ref", "refs/exps") == before
    run("tin", trials=1)  # the name of no experiment
    assert experiments() == ["tin-1", "tiny-1", "tiny-2"]


@pytest.mark.usefixtures("project")
def test_a_failure_of_git_fails_no_trial(monkeypatch):
    def fail(*_):
        raise UserError("git reset: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(copy.ProjectCopy, "prepare", fail)
        with pytest.raises(SystemExit, match="error: git reset: No space left on device"):
            run(trials=2)
    run(trials=2)
    assert [(row["state"], row["runs"]) for row in table()] == [("whole", "2"), ("whole", "1")]


def test_a_copy_has_the_cache_and_the_remotes_of_the_project(project):
    from dvc.config import Config

    with copy.project_copy(project, git("rev-parse", "HEAD"), "") as made:
        config = Config(str(made.folder / ".dvc"))
        assert Path(config["cache"]["dir"]) == project / ".dvc" / "cache"
        assert Path(config["remote"]["team"]["url"]).resolve() == project / "beside"
        assert git("-C", str(made.folder), "status", "--porcelain") == ""


@pytest.mark.usefixtures("project")
def test_a_worker_says_that_it_is_alive_while_it_pushes(monkeypatch, tmp_path):
    monkeypatch.setenv("KWS_PRETEND_PUSHED", str(tmp_path / "pushed.txt"))
    monkeypatch.setenv("KWS_PRETEND_SECONDS", "1")
    beats: list[bool] = []
    made = copy.ProjectCopy(Path.cwd(), Path.cwd(), git("rev-parse", "HEAD"), "team")
    made.save("tiny-1", lambda: beats.append((tmp_path / "pushed.txt").exists()))
    assert beats[0] is False  # before anything is pushed
    assert (tmp_path / "pushed.txt").read_text() == "tiny-1\n"


def test_experiments_are_pushed_where_a_remote_is_given(project, monkeypatch, tmp_path):
    pushed = tmp_path / "pushed.txt"
    monkeypatch.setenv("KWS_PRETEND_PUSHED", str(pushed))
    git("remote", "add", "team", str(tmp_path / "team.git"))
    run("", "", "team", trials=2)
    assert pushed.read_text().split() == ["tiny-1", "tiny-2"]
    assert experiments() == ["tiny-1", "tiny-2"]
    assert project.exists()


@pytest.mark.usefixtures("project")
def test_ctrl_c_puts_the_trial_back(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SharedStudy, "report", interrupt)
        with pytest.raises(SystemExit, match=r"^stopped; the trial of this worker is run again when a worker begins$"):
            run(trials=2)
    run(trials=2)
    assert [(row["state"], row["runs"]) for row in table()] == [("whole", "2"), ("whole", "1")]
    assert capsys.readouterr().out.count("trial 1: label_smoothing") == 2


# Several workers


@pytest.mark.usefixtures("project")
def test_workers_that_end_at_the_same_time_write_one_after_the_other(monkeypatch):
    one = open_study()
    data = {"dataset": "mine", "sha256": "abc", "synthetic": False, "train": 8, "validation": 2}
    kept = {"values": {"label_smoothing": 0.1, "batch_size": 16}, "validation_loss": 0.1, "data": data}
    assert one.settle(take(one, 1), TrialState.COMPLETE, kept, 0.5)
    search = sweep.read_search(Path("presets/sweeps/tiny.yaml"), "1", [])
    draw, ended = report.save_figure, []

    def work() -> None:
        worker.run_worker(search, "tiny", f"sqlite:///{Path.cwd() / 'sweeps.db'}", "")
        ended.append(threading.current_thread())

    other = threading.Thread(target=work)

    def slowly(*arguments) -> None:
        if not other.ident:
            other.start()
            other.join(3)  # it would write the same files meanwhile
        draw(*arguments)

    monkeypatch.setattr(report, "save_figure", slowly)
    work()
    other.join()
    assert ended == [threading.current_thread(), other]
    assert [row["trial"] for row in table()] == ["1"]


@contextmanager
def a_worker(storage: str, trials: int, log: Path, seconds: str = "0.1") -> Iterator[subprocess.Popen]:
    """A worker in a process of its own, which finds out soon that another one was killed, and stops no trial."""
    code = (
        "import kws.sweep.copy as copy, kws.sweep.study as study, kws.commands.sweep as sweep\n"
        "copy.POLL, study.GRACE, study.WARMUP = 0.1, 3, 99\n"
        "sweep.main()"
    )
    words = ["presets/sweeps/tiny.yaml", str(trials), "", storage, "", ""]
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "KWS_PRETEND_SECONDS": seconds},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wait_for(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def kill_one_of_two(storage: str, folder: Path) -> list[str]:
    """Two workers of a study of six trials; one is killed while it trains. What the other one printed at its end."""
    with a_worker(storage, 6, folder / "victim.log", seconds="600") as victim:  # it never comes to the end of an epoch
        wait_for(lambda: Path("trained.txt").exists())
        with a_worker(storage, 6, folder / "other.log") as other:
            training = int(Path("trained.txt").read_text().split()[1])
            os.kill(victim.pid, signal.SIGKILL)
            wait_for(lambda: not alive(training))  # with the worker, its training
            assert other.wait(600) == 0, (folder / "other.log").read_text()
    return (folder / "other.log").read_text().splitlines()


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_two_workers_one_is_killed_and_nothing_is_lost_or_doubled(project, database, tmp_path, request):
    storage = request.getfixturevalue("postgresql") if database == "postgresql" else ""
    printed = kill_one_of_two(storage, tmp_path)
    rows = table()
    assert [(row["trial"], row["state"]) for row in rows] == [(f"{number}", "whole") for number in range(1, 7)]
    assert [row["runs"] for row in rows if row["killed_runs"] == "1"] == ["2"]
    assert sum(int(row["killed_runs"]) for row in rows) == 1
    assert experiments() == sorted(row["experiment"] for row in rows)
    assert Counter(Counter(begun()).values()) == {1: 5, 2: 1}  # one training began twice, no other one
    assert any(line == "Run again, since a worker was killed: trial 1." for line in printed)
    for row in rows:
        assert float(row["validation_accuracy"]) == pytest.approx(1 - float(row["label_smoothing"]), abs=1e-5)
    assert sorted(path.name for path in (project / ".scratch" / "sweeps").glob("[0-9]")) in ([], ["1"])


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.server() as address:
        yield address


@pytest.mark.usefixtures("project")
def test_what_postgresql_refuses_is_one_line_without_the_password(postgresql):
    for address, message in (
        (postgresql.replace("well%20kept", "guessed"), "password authentication failed"),
        (postgresql.replace("/kws", "/none"), 'database "none" does not exist'),
        (re.sub(r":\d+/", ":1/", postgresql), "onnection refused"),
    ):
        with pytest.raises(SystemExit) as ended:
            run("", address, trials=1)
        assert message in str(ended.value)
        assert "\n" not in str(ended.value)
        assert "guessed" not in str(ended.value)
        assert "well" not in str(ended.value)


# The pipeline itself


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow, of SQLAlchemy
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")  # MLflow, of itself
def test_a_trial_of_the_pipeline_is_an_experiment_that_dvc_shows_and_applies(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    (project.root / "presets" / "sweeps").mkdir(parents=True)
    (project.root / "presets" / "fast.yaml").write_text("weight_decay: 0.01\n")
    text = "preset: fast\nset: {epochs: 2}\nsearch: {learning_rate: [0.002, 0.004], batch_size: [8, 16]}\n"
    (project.root / "presets" / "sweeps" / "tiny.yaml").write_text(text)
    project.commit()
    words = ["presets/sweeps/tiny.yaml", "1", "", "", "", ""]
    printed = project.run(sys.executable, "-m", "kws.commands.sweep", *words, PYTHONPATH="src")
    [row] = read_csv(project.root / "plots" / "sweep" / "tiny" / "study.csv")
    assert (row["state"], row["epochs"], row["experiment"]) == ("whole", "2", "tiny-1"), printed
    assert project.changed() == [
        *(f"?? plots/sweep/tiny/{name}" for name in ("report.txt", "study.csv", "study.png")),
        "?? presets/found/tiny.yaml",
    ]
    [run_of_trial] = project.runs()
    assert (run_of_trial.info.run_name, run_of_trial.info.status) == ("tiny-1", "FINISHED")
    assert run_of_trial.data.params["learning_rate"] == row["learning_rate"]

    shown = json.loads(project.run("dvc", "exp", "show", "--json"))
    [experiment] = [one for commit_shown in shown for one in commit_shown["experiments"] or []]
    assert experiment["name"] == "tiny-1"
    metrics = experiment["revs"][0]["data"]["metrics"]
    assert {path for path, found in metrics.items() if found.get("data")} == {
        f"metrics/{stage}.json" for stage in copy.TRAINED
    }
    project.run("dvc", "exp", "apply", "tiny-1")
    params = load_params(project.root / "params.yaml")
    assert (params.learning_rate, params.batch_size, params.epochs) == (
        float(row["learning_rate"]),
        int(row["batch_size"]),
        2,
    )
    figures = json.loads((project.root / "metrics" / "train.json").read_text())
    assert round(figures["validation_accuracy"], 6) == float(row["validation_accuracy"])
