"""dvc.yaml agrees with the rest of the project. What stages really read, test_dependencies.py records."""

import ast
from pathlib import Path

import yaml
from conftest import ROOT

from kws.commands.versions import LOCK, locked_versions
from kws.core import paths
from kws.core.params import Params

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
WATCH = PIPELINE["stages"].pop("watch")
STAGES = PIPELINE["stages"]


def test_every_parameter_is_read_by_a_stage():
    of_stages = {name for stage in STAGES.values() for name in stage["params"] if isinstance(name, str)}
    project = ast.parse((ROOT / "stages" / "project.py").read_text())  # which depends on all of them
    of_project = {node.attr for node in ast.walk(project) if isinstance(node, ast.Attribute)} & set(Params.model_fields)
    assert of_stages | of_project == set(Params.model_fields)


def test_dvc_yaml_is_a_page_that_people_can_read():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 240
    for stage in STAGES.values():
        assert len([dep for dep in stage["deps"] if dep.startswith(("src/", "stages/"))]) <= 8


def test_the_versions_that_stages_depend_on_are_those_of_the_lock():
    versions = yaml.safe_load((ROOT / "versions.yaml").read_text())
    assert versions == locked_versions((ROOT / LOCK).read_text())
    listed = {
        name
        for stage in STAGES.values()
        for entry in stage["params"]
        if isinstance(entry, dict)
        for name in entry.get("versions.yaml") or ()
    }
    assert listed == set(versions)


def test_the_stages_are_the_six_and_described():
    assert list(STAGES) == ["download", "featurize", "train", "evaluate", "export", "project"]
    for name, stage in STAGES.items():
        assert stage["desc"]
        assert stage["cmd"] == f"PYTHONPATH=src python stages/{name}.py"


def test_before_them_a_stage_notes_each_time_what_dvc_cannot_see():
    assert WATCH["desc"]
    assert WATCH["cmd"] == "PYTHONPATH=src python stages/watch.py"
    assert WATCH["always_changed"]
    noted = (paths.OWN, paths.PRETRAINED)
    assert WATCH["outs"] == [{path.as_posix(): {"cache": False, "persist": True}} for path in noted]


def test_the_seed_of_an_experiment_changes_nothing_of_what_is_measured():
    """E6: two seeds are two trainings, and one measurement."""
    assert "seed" not in STAGES["evaluate"]["params"]
    read = [*(ROOT / "src" / "kws" / "evaluate").glob("*.py"), ROOT / "stages" / "evaluate.py"]
    assert [path.name for path in read if "params.seed" in path.read_text()] == []


def outputs_of(stage: str) -> set[str]:
    outputs = [out for kind in ("outs", "metrics", "plots") for out in STAGES[stage].get(kind, [])]
    return {out if isinstance(out, str) else next(iter(out)) for out in outputs}


def test_stages_hand_over_what_the_next_ones_read():
    written = {path for stage in STAGES for path in outputs_of(stage)}
    read = {Path(dep) for stage in STAGES.values() for dep in stage["deps"] if not dep.startswith(("src/", "stages/"))}
    assert {path for path in read if not any(path.is_relative_to(out) for out in written)} == {
        paths.OWN,
        paths.PRETRAINED,
    }
    assert {p.as_posix() for p in (paths.RAW, paths.FEATURES, paths.MODEL, paths.ANSWERS)} <= written
