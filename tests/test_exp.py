import os
import shutil
import sys

import pytest
import yaml
from conftest import ROOT

from kws.commands import exp
from kws.core.errors import UserError
from kws.core.params import Params, load_params

PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _with_the_presets(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)


def test_the_presets_are_three():
    assert PRESETS == ["balanced", "best", "fast"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_holds_parameters_that_are_allowed(preset):
    overrides = yaml.safe_load((ROOT / "presets" / f"{preset}.yaml").read_text())
    Params.model_validate(load_params(ROOT / "params.yaml").model_dump() | overrides)


def test_every_preset_sets_what_any_preset_sets():  # or one would keep the values of the one before
    keys = [set(yaml.safe_load((ROOT / "presets" / f"{preset}.yaml").read_text())) for preset in PRESETS]
    assert keys[0] == keys[1] == keys[2]


def test_the_command_sets_the_presets_parameters_and_then_those_asked_for():
    (exp.PRESETS / "fast.yaml").write_text("model: tc_resnet  # fast\nwidth: 1.5\n")
    assert exp.command("fast", ["width=2", "words=[no,yes]"]) == (
        ["dvc", "exp", "run", "-S", "model=tc_resnet", "-S", "width=1.5", "-S", "width=2", "-S", "words=[no,yes]"]
    )


def test_a_preset_that_is_not_there_is_told_with_those_that_are(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["exp", "fastest", ""])
    with pytest.raises(SystemExit, match="error: PRESET=fastest: no such preset; the presets are balanced, best, fast"):
        exp.main()


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(UserError, match="SET=seed: give name=value"):
        exp.command("fast", ["seed"])


def test_a_quote_that_is_not_closed_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["exp", "fast", 'seed=2 "words=[no,yes]'])
    with pytest.raises(SystemExit, match=r"error: SET=seed=2 .*No closing quotation"):
        exp.main()


def test_the_command_is_printed_as_a_shell_takes_it_and_run(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(os, "execvp", lambda name, words: ran.append((name, words)))
    monkeypatch.setattr(sys, "argv", ["exp", "fast", "seed=2 'words=[lights on, off]'"])
    exp.main()
    printed = capsys.readouterr().out
    assert printed.startswith("dvc exp run -S unknown=0.0 ")
    assert printed.endswith("-S seed=2 -S 'words=[lights on, off]'\n")
    assert ran[0][0] == "dvc"
    assert ran[0][1][-1] == "words=[lights on, off]"
