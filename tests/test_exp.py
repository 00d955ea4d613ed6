import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides, to_hydra_overrides
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kws.commands import exp
from kws.core.errors import UserError
from kws.core.params import Params, load_params, read_yaml

PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _with_the_presets(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)


def test_the_presets_are_five():
    assert PRESETS == ["balanced", "best", "device", "embedding", "fast"]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_holds_parameters_that_are_allowed(preset):
    overrides = yaml.safe_load((ROOT / "presets" / f"{preset}.yaml").read_text())
    Params.model_validate(load_params(ROOT / "params.yaml").model_dump() | overrides)


def test_every_preset_sets_what_any_preset_sets():  # or one would keep the values of the one before
    keys = {preset: set(yaml.safe_load((ROOT / "presets" / f"{preset}.yaml").read_text())) for preset in PRESETS}
    of_data = {"dataset", "words", "computed_voices", "synthetic_variety", "neural_share", "pretrained"}
    assert keys.pop("embedding") == keys["best"] | of_data  # it is for one data set, which it names
    assert all(some == keys["best"] for some in keys.values())


def test_the_command_sets_the_presets_parameters_and_then_those_asked_for():
    (exp.PRESETS / "fast.yaml").write_text("model: tc_resnet  # fast\nwidth: 1.5\n")
    assert exp.command("fast", ["width=2", "words=[no,yes]"]) == (
        ["dvc", "exp", "run", "-S", "model=tc_resnet", "-S", "width=1.5", "-S", "width=2", "-S", "words=[no,yes]"]
    )


def test_a_preset_that_is_not_there_is_told_with_those_that_are(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["exp", "fastest", ""])
    with pytest.raises(
        SystemExit,
        match="error: PRESET=fastest: no such preset; the presets are balanced, best, device, embedding, fast",
    ):
        exp.main()


# A setting as people write it, what DVC gets, and what must stand in params.yaml then
SETTINGS = [
    ("words=[no,yes]", "words=[no,yes]", ["no", "yes"]),
    ("words=[grün,blau]", "words=['grün',blau]", ["grün", "blau"]),
    ("words=[кофе,чай]", "words=['кофе','чай']", ["кофе", "чай"]),
    ("words=[咖啡,茶]", "words=['咖啡','茶']", ["咖啡", "茶"]),
    ("words=[don't,l'eau]", """words=["don't","l'eau"]""", ["don't", "l'eau"]),
    ("words=[lights on, lights off]", "words=['lights on','lights off']", ["lights on", "lights off"]),
    ("'words=[lights on, off]'", "words=['lights on',off]", ["lights on", "off"]),
    ("words=['lights on',\"don't\"]", """words=['lights on',"don't"]""", ["lights on", "don't"]),
    ("words=[hey_jarvis]", "words=[hey_jarvis]", ["hey_jarvis"]),
    ("words=[true,null,7,1e5]", "words=['true','null','7','1e5']", ["true", "null", "7", "1e5"]),
    ("words=computer", "words=computer", "computer"),  # which the stages refuse, and say how to write it
    ("dataset=recordings", "dataset=recordings", "recordings"),
    ("dataset=/home/me/set-2_b.zip", "dataset=/home/me/set-2_b.zip", "/home/me/set-2_b.zip"),
    ("dataset=https://example.org/a.zip?x=1,2", "dataset='https://example.org/a.zip?x=1,2'", None),
    ("'dataset=/home/Zoë/my takes [2] = old?'", "dataset='/home/Zoë/my takes [2] = old?'", None),
    ("dataset='my takes'", "dataset='my takes'", "my takes"),
    ("""dataset="Zoë's takes\"""", '''dataset="Zoë's takes"''', "Zoë's takes"),
    ("dataset=2024", "dataset='2024'", "2024"),
    ("dataset=a,b", "dataset='a,b'", "a,b"),
    ("test_dataset=", "test_dataset=", ""),
    ("test_dataset=''", "test_dataset=", ""),
    ("learning_rate=1e-3", "learning_rate=1e-3", 1e-3),
    ("model=tc_resnet", "model=tc_resnet", "tc_resnet"),
]


@pytest.mark.parametrize(("written", "given", "meant"), SETTINGS)
def test_a_setting_reaches_params_yaml_as_it_was_meant(written, given, meant):
    assert set_by_dvc(written) == given
    name, _, value = given.partition("=")
    assert read_yaml(Path("params.yaml"))[name] == (value.strip("'") if meant is None else meant)


def set_by_dvc(written: str) -> str:
    """Lets DVC itself set a parameter, and returns what it was given."""
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    given = exp.command("fast", exp.split_settings(written))[-1]
    [overrides] = to_path_overrides([given]).values()
    apply_overrides("params.yaml", overrides)
    return given


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1).map(str.strip))
def test_any_folder_is_read_by_dvc_as_it_is(text):
    assume(text and text[0] + text[-1] not in ("''", '""') and "???" not in text)
    override = exp._override(f"dataset={text}")
    [parsed] = to_hydra_overrides([override])
    config = OmegaConf.create({"dataset": ""})
    ConfigLoaderImpl._apply_overrides_to_config([parsed], config)
    assert OmegaConf.to_object(config) == {"dataset": text}
    assert not parsed.is_sweep_override()


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", []),
        ("  seed=2   split=random ", ["seed=2", "split=random"]),
        ("words=[lights on, off] seed=2", ["words=[lights on, off]", "seed=2"]),
        ("words=[don't,won't] dataset='my folder' seed=2", ["words=[don't,won't]", "dataset=my folder", "seed=2"]),
        ("'words=[don't, stop]' seed=2", ["words=[don't, stop]", "seed=2"]),
        ("test_dataset='' seed=2", ["test_dataset=", "seed=2"]),
    ],
)
def test_settings_are_told_apart(text, settings):
    assert exp.split_settings(text) == settings


@pytest.mark.parametrize(
    ("text", "sign"), [("seed=2 'words=[no,yes]", "'"), ('dataset="a b', '"'), ("words=[no", r"\[")]
)
def test_what_is_not_closed_is_one_line(monkeypatch, text, sign):
    monkeypatch.setattr(sys, "argv", ["exp", "fast", text])
    with pytest.raises(SystemExit, match=rf"error: SET={re.escape(text)}: {sign} is not closed$"):
        exp.main()


def test_make_hands_over_every_character(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    written = """words=[don't,"grün ?"] dataset='my takes' split=random"""
    for target, module in (("exp", "kws.commands.exp"), ("curve", "kws.commands.data_curve")):
        printed = subprocess.run(
            ["make", "--old-file=.venv/ready-pipeline", target, "PRESET=best", f"SET={written}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert printed.splitlines() == ["-m", "kws.commands.mend_lock", "-m", module, "best", written]


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(UserError, match="SET=seed: give name=value"):
        exp.command("fast", ["seed"])


def test_the_command_is_printed_as_a_shell_takes_it_and_run(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(os, "execvp", lambda name, words: ran.append((name, words)))
    monkeypatch.setattr(sys, "argv", ["exp", "fast", "seed=2 'words=[lights on, off]'"])
    exp.main()
    printed = capsys.readouterr().out
    assert printed.startswith("dvc exp run -S unknown=0.0 ")
    assert ran[0][0] == "dvc"
    assert ran[0][1][-3:] == ["seed=2", "-S", "words=['lights on',off]"]
    assert shlex.split(printed) == ran[0][1]
