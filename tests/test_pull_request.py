"""The report of a change, its pictures and its gate: `make report BASE=main`."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT

from kws.commands import report
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
    cells = (re.split(r"(?<!\\)\|", line)[1:-1] for line in lines)
    return [[cell.strip().replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in cells]


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
    assert "The gate stops it." in text
    assert repository.report("better", gate="")[0] == 0


def run_report(monkeypatch, capsys, root: Path, base: str = "main", gate: str = "") -> tuple[str, str]:
    """What the command prints in a repository, or the line that it ends with, and the report."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("GATE", gate)
    monkeypatch.setattr(sys, "argv", ["report", base])
    try:
        report.main()
        printed = capsys.readouterr().out.splitlines()[-1]
    except SystemExit as end:
        printed = str(end.code)
    written = root / report.FOLDER / "report.md"
    return printed, written.read_text() if written.exists() else ""


def test_other_clips_and_other_recordings_are_not_compared_and_pass(repository, monkeypatch, capsys):
    repository.write(answers(0, clips=100), clips="two", exported={"int8_bytes": 1500, "stream_bytes": 70})
    printed, text = run_report(monkeypatch, capsys, repository.root, gate="1")
    problem = "it is not compared: the clips differ (200 and 100, 100 in common)."
    assert printed == f"plots/report/report.md: on validation, {problem}"
    assert f"**On validation, {problem}** The gate lets it pass." in text
    rows = table(text.partition("### ")[0])
    assert [cell[:7] for cell in rows[1][1:4]] == ["70.0 % ", "100.0 %", "not com"]
    assert rows[2][3].startswith("+0.00 points")
    assert "A and B have not answered the same clips" in section(text, "New mistakes")
    assert table(section(text, "Size of the exported files"))[1:] == [
        ["`kws_int8.tflite`", "bytes", "1,000", "1,500", "+50.0 %"],
        ["`kws_int8.tflite`", "multiplications", "5,000", "5,000", "as A"],
        ["`kws_features.tflite`", "arena bytes", "800", "800", "as A"],
        ["`kws_stream.tflite`", "bytes", "-", "70", ""],
    ]
    repository.write(answers(0), clips="two", sound="def")
    printed, text = run_report(monkeypatch, capsys, repository.root)
    assert "it is not compared: the recordings are not known to be the same" in printed
    repository.write(answers(0), clips="two")  # data/raw is another one, for its archive is the same
    assert "it is better: +30.00 points" in run_report(monkeypatch, capsys, repository.root)[0]


def test_the_base_may_be_an_experiment(repository, monkeypatch, capsys):
    repository.write(answers(2))
    command = ["git", "rev-parse", "main"]
    main = subprocess.run(command, cwd=repository.root, capture_output=True, text=True, check=True).stdout.strip()
    repository.run("git", "update-ref", f"refs/exps/{main[:2]}/{main[2:]}/tried-it", "main")
    printed, text = run_report(monkeypatch, capsys, repository.root, base="tried-it")
    assert "it is better: +10.00 points" in printed
    assert f"A is `{main[:7]} a change`." in text


def test_results_of_other_code_or_parameters_are_told_and_stopped(repository, monkeypatch, capsys):
    (repository.root / "params.yaml").write_text(yaml.safe_dump({"mel_bins": 64, "words": WORDS}))
    printed, text = run_report(monkeypatch, capsys, repository.root, gate="1")
    assert printed == (
        "error: the gate stops this change: the results are of other code or parameters (evaluate): run dvc repro, "
        "and commit"
    )
    assert "> **These are not the results of this change.** evaluate would run again" in text
    assert "and what is not committed. The brackets" in text
    assert "The gate stops it." in text
    assert "it is not known to differ: +0.00 points" in run_report(monkeypatch, capsys, repository.root)[0]


def test_what_a_colleague_pushed_is_read_from_the_remote_and_what_nobody_pushed_is_a_line(
    repository, tmp_path, monkeypatch, capsys
):
    repository.write(answers(1))
    clone = tmp_path / "clone"
    repository.run("git", "clone", "-q", str(repository.root), str(clone))
    repository.run("git", "-C", str(clone), "branch", "main", "origin/main")
    printed, _ = run_report(monkeypatch, capsys, clone)
    assert printed.startswith(
        "error: main: data/validation.npz is neither in git, nor in DVC's cache, nor in its remote ("
    )
    assert printed.endswith("): dvc pull fetches what was pushed, dvc repro makes it")
    repository.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    for branch in ("main", "change"):  # `dvc push --all-commits` goes by the remote of each commit
        repository.run("git", "checkout", "-q", branch)
        repository.run("dvc", "push", "-q")
    shutil.copy(repository.root / ".dvc" / "config", clone / ".dvc" / "config")  # main knows of no remote yet
    printed, text = run_report(monkeypatch, capsys, clone, gate="1")
    assert "on validation, it is better: +20.00 points" in printed
    assert "These are not the results" not in text
    assert not (clone / "data" / "validation.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing", ""), r"error: nothing: .*; give a branch, a tag or a commit: make report BASE=main"),
        (("", ""), "error: give the branch, tag or commit that the change began with: make report BASE=main"),
        (("main", "yes"), "error: GATE=yes: give GATE=1, or leave it out"),
    ],
)
def test_bad_input_is_a_line(arguments, message, repository, monkeypatch, capsys):
    printed, text = run_report(monkeypatch, capsys, repository.root, *arguments)
    assert re.fullmatch(message, printed)
    assert text == ""


def version(validation: Answers, **changes: Any) -> report.Version:
    given = {"test": validation, "classes": WORDS, "recordings": ("x.dir", None)}
    return report.Version(validation=validation, **given | changes)


def told(base: report.Version, change: report.Version, **more: Any) -> str:
    given = {"commits": ("abc One", "def Two"), "uncommitted": False, "parameters": [], "stale": []}
    return report.report(base, change, report.About(**given | more))


def test_new_mistakes_are_those_of_the_change_alone_the_most_confident_first():
    before, now = answers(3), answers(3)
    before.probabilities[0] = now.probabilities[0]  # wrong before and now
    now.probabilities[5], now.probabilities[16] = (0.1, 0.9), (0.95, 0.05)  # `no` and `yes`, right before
    now.probabilities[1] = (0.7, 0.3)  # right now
    found = report.new_mistakes(version(before), version(now))
    assert [one["name"] for one in found] == ["yes/016.wav", "no/005.wav"]
    assert found[0] | {"before": 0.8, "score": 0.95, "now": 0.05} == pytest.approx(found[0], abs=1e-6)
    assert (found[0]["word"], found[0]["answer"]) == ("yes", "no")
    text = section(told(version(before), version(now)), "New mistakes")
    assert "2 validation clips that A answers rightly are wrong with B, and 1 the other way round." in text
    assert table(text)[1] == ["`yes/016.wav`", "`yes`", "80.0 %", "`no`", "95.0 %", "5.0 %"]
    assert "speaker" not in text
    assert "wrong with B; 60 that A answers wrongly are right." in section(
        told(version(answers(3)), version(answers(0))), "New mistakes"
    )


def test_classes_in_another_order_are_told_by_their_names():
    now = answers(3)
    turned = replace(now, labels=1 - now.labels, probabilities=now.probabilities[:, ::-1].copy())
    text = told(version(now), version(turned, classes=WORDS[::-1]))
    assert "it is not known to differ: +0.00 points" in text
    turned.probabilities[5] = turned.probabilities[5, ::-1].copy()
    [mistake] = report.new_mistakes(version(now), version(turned, classes=WORDS[::-1]))
    assert (mistake["word"], mistake["answer"]) == ("no", "yes")


def test_parameters_that_differ_are_told_without_passwords():
    rows = report.parameter_rows(
        {
            "versions.yaml": {"numpy": {"old": "2.4.5", "new": "2.4.6"}},
            "params.yaml": {
                "words": {"old": ["no"], "new": ["no", "yes"]},
                "dataset_url": {"old": "", "new": "https://ann:secret@example.org/a.zip?key=1"},
                "causal": {"old": False, "new": True},
                "extra": {"new": 3},
            },
        }
    )
    assert [(row["name"], row["old"], row["new"]) for row in rows] == [
        ("causal", "false", "true"),
        ("dataset_url", "", "https://example.org/a.zip"),
        ("extra", "", "3"),
        ("words", "no", "no, yes"),
        ("versions.yaml: numpy", "2.4.5", "2.4.6"),
    ]


def test_a_report_of_many_words_fits_into_a_comment():
    names = [f"word number {n}" for n in range(500)]
    rows = report.parameter_rows({"params.yaml": {f"p{n}": {"old": names, "new": names[1:]} for n in range(300)}})
    now = answers(5)
    text = told(version(answers(0)), version(now), parameters=rows)
    assert "And 200 more." in text
    assert "100 validation clips that A answers rightly are wrong" in text
    assert "The 20 most confident mistakes:" in text
    assert 20_000 < len(text) < 65_536


def test_clips_of_computed_voices_are_left_out_and_synthetic_ones_are_told():
    text = told(version(answers(1), computed=7), version(answers(1), computed=9, synthetic=True))
    assert "Clips of computed voices beside people are left out (A: 7, B: 9)." in text
    assert "Computed voices say all clips: no figure here says how well people are understood." in text


@pytest.mark.parametrize(
    "name", ["a|b.wav", "`tick`.wav", "``.wav", "<script>x</script>", "@all", "*a* _b_", "[a](b)", "a\nb", "\\|"]
)
def test_a_name_can_do_nothing_in_a_table(name):
    from markdown_it import MarkdownIt

    html = MarkdownIt("commonmark").enable("table").render(f"| a | b |\n| --- | --- |\n| {report.code(name)} | c |\n")
    cells = re.findall(r"<td>(.*?)</td>", html, flags=re.DOTALL)
    escaped = name.replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert cells == [f"<code>{escaped}</code>", "c"]


def test_what_a_stage_lacks_on_this_machine_is_not_stale():
    outputs = {"data/raw", "data/features", "models/kws.keras"}
    status = {
        "watch": ["always changed"],
        "download": [{"changed outs": {"data/raw": "deleted"}}],
        "featurize": [{"changed deps": {"data/raw": "deleted", "src/kws/audio": "modified"}}],
        "train": [{"changed deps": {"params.yaml": {"epochs": "modified"}}}],
        "evaluate": [{"changed deps": {"src/kws/gone": "deleted"}}],
        "export": ["changed command"],
        "project": [{"changed deps": {"params.yaml": {"epochs": "modified"}}}],
    }
    assert report.stale_stages(status, outputs) == ["featurize", "train", "evaluate", "export"]
    assert report.stale_stages({"train": [{"changed deps": {"data/features": "deleted"}}]}, outputs) == []
