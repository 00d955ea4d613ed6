"""dvc.yaml says what the code does: each stage's parameters, modules and outputs."""

import ast
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from kws.core import paths
from kws.core.params import Params

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]
PACKAGE = ROOT / "src" / "kws"
DERIVED = {  # properties of Params
    "clip_samples": {"clip_seconds", "sample_rate"},
    "classes": {"words", "unknown", "silence"},
}
RECORDS_ALL = {"tracked_run"}  # notes every parameter down for MLflow; changes nothing that the stage writes
READS_ALL = {"experiment_key", "model_card"}
WITHOUT_EFFECT = {"evaluate": {"threads"}, "export": {"threads"}}  # what they write does not depend on it


def modules_of(script: Path) -> set[Path]:
    """The modules of kws that a script imports, wherever in it, and those that they import."""
    found, todo = {PACKAGE / "__init__.py"}, [script]
    while todo:
        for node in ast.walk(ast.parse(todo.pop().read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            new = {path for name in names if (path := module_file(name))} - found
            found |= new
            todo += new
    return found


def module_file(name: str) -> Path | None:
    """The file of a module of kws; None for names in a module, and for modules of others."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    return next((file for file in files if name.startswith("kws.") and file.exists()), None)


def parameters_of(code: ast.AST, modules: set[Path]) -> set[str]:
    """The parameters that code reads as `params.<name>`, itself or in a function that it hands `params` to."""
    read = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params":
            read |= DERIVED.get(node.attr, {node.attr})
        if isinstance(node, ast.Call) and any(isinstance(arg, ast.Name) and arg.id == "params" for arg in node.args):
            owner, called = owner_and_name(node.func)
            read |= set(Params.model_fields) if called in READS_ALL else set()
            for module in modules if called not in RECORDS_ALL | READS_ALL else ():
                for function in functions_of(ast.parse(module.read_text()), owner, called):
                    read |= parameters_of(function, modules)
    return read


def owner_and_name(function: ast.expr) -> tuple[str | None, str]:
    """What is called: `module.function` or `function` (no owner), or `Class.method`."""
    if isinstance(function, ast.Name):
        return None, function.id
    owner = function.value.id if isinstance(function.value, ast.Name) else function.value.attr
    return (owner if owner[0].isupper() else None), function.attr


def functions_of(code: ast.Module, owner: str | None, name: str) -> list[ast.FunctionDef]:
    """The functions of this name: in the class `owner`, or in the module itself."""
    classes = [node for node in code.body if isinstance(node, ast.ClassDef) and node.name == owner]
    bodies = [node.body for node in classes] if owner else [code.body]
    return [node for body in bodies for node in body if isinstance(node, ast.FunctionDef) and node.name == name]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_script_and_on_every_module_that_it_imports(stage):
    script = ROOT / "stages" / f"{stage}.py"
    imported = {path.relative_to(ROOT).as_posix() for path in modules_of(script)}
    listed = [dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")]
    assert listed == [f"stages/{stage}.py", *sorted(imported)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_parameters_that_it_reads(stage):
    script = ROOT / "stages" / f"{stage}.py"
    listed = STAGES[stage]["params"]
    if listed == [{"params.yaml": None}]:  # DVC's way to say: all of them
        listed = sorted(Params.model_fields)
    read = parameters_of(ast.parse(script.read_text()), modules_of(script))
    assert listed == sorted(read - WITHOUT_EFFECT.get(stage, set()))


def test_every_parameter_is_read_by_a_stage():
    written_out = [stage["params"] for name, stage in STAGES.items() if name != "project"]
    script = ast.parse((ROOT / "stages" / "project.py").read_text())
    of_project = {node.attr for node in ast.walk(script) if isinstance(node, ast.Attribute)} & set(Params.model_fields)
    assert {name for names in written_out for name in names} | of_project == set(Params.model_fields)


def test_the_stages_are_the_six_and_described():
    assert list(STAGES) == ["download", "featurize", "train", "evaluate", "export", "project"]
    for name, stage in STAGES.items():
        assert stage["desc"]
        assert stage["cmd"] == f"PYTHONPATH=src python stages/{name}.py"


def outputs_of(stage: str) -> set[str]:
    outputs = [out for kind in ("outs", "metrics", "plots") for out in STAGES[stage].get(kind, [])]
    return {out if isinstance(out, str) else next(iter(out)) for out in outputs}


def test_stages_hand_over_what_the_next_ones_read():
    written = {path for stage in STAGES for path in outputs_of(stage)}
    read = {Path(dep) for stage in STAGES.values() for dep in stage["deps"] if not dep.startswith(("src/", "stages/"))}
    assert {path for path in read if not any(path.is_relative_to(out) for out in written)} == {
        paths.LOCAL_SOURCE,
        paths.LOCAL_TEST,
    }
    assert {p.as_posix() for p in (paths.RAW, paths.FEATURES, paths.MODEL, paths.ANSWERS)} <= written
