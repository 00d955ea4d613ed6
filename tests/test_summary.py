import subprocess
from dataclasses import replace

import pytest
from conftest import ROOT, make_spec

from kws.commands.summary import other_machine, summary
from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import write_json


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_last_lines_of_make_say_the_result_on_what_data_and_what_to_type(tmp_path, monkeypatch, synthetic):
    monkeypatch.chdir(tmp_path)
    scores = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "test_clips": 120}
    write_json(paths.METRICS / "evaluate.json", scores)
    write_json(paths.SPEC, replace(make_spec(), test_synthetic=synthetic).to_json())
    text = summary()
    assert "Test accuracy 90.0%, 95 % interval 80.0% to 95.0%,\n120 test clips of theirs: yes, no\n" in text
    assert ("Computed voices: they test the pipeline" in text) == synthetic
    assert "dvc exp run -S mel_bins=64" in text
    for line in text.splitlines():
        for path in line.removeprefix("Look at").replace(",", " ").replace(";", " ").split():
            if path.endswith(".png"):
                assert (ROOT / path).exists()


def test_without_results_it_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"metrics/evaluate\.json is not here: run dvc repro"):
        summary()


def test_results_that_differ_with_the_committed_code_and_parameters_are_another_processors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert other_machine() == ""  # no checkout of git
    for name in ("params.yaml", "metrics/train.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", *command], check=True)
    assert other_machine() == ""
    (tmp_path / "metrics" / "train.json").write_text("2")
    assert "Git shows 1 changed files in metrics, models, plots" in other_machine()
    (tmp_path / "params.yaml").write_text("2")
    assert other_machine() == ""
