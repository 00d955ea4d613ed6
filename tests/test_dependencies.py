"""What a stage really reads and imports while it runs, against dvc.yaml; and what runs again after a change."""

import ast
import json
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from checkout import PIPELINE, ROOT, STAGES, ran

from kws.core.params import Params

KINDS = ("outs", "metrics", "plots")
READ_ELSEWHERE = {  # parameters that a stage does not read with these settings
    "download": {"dataset_sha256", "dataset_url", "unheard_words"},
    "featurize": {"unheard_words"},
    "train": set(),
    "evaluate": set(),
    "export": {"language"},  # of files for ESPHome
}
UNSEEN = {"evaluate": {"threads"}, "export": {"threads"}}  # what a stage reads and no output depends on
PLUMBING = {  # libraries that compute nothing of a result
    *("dvc", "filelock", "google-crc32c", "kws", "pydantic", "pyyaml", "requests", "tenacity", "threadpoolctl", "tqdm"),
    "urllib3",
}
ON_DEMAND = {  # what a module imports for recordings that these are not, and for a head on a pretrained body
    "src/kws/audio/decode.py": {"av"},
    "src/kws/train/head.py": {"scikit-learn"},
}
MICRO = {stage: {"pymicro-features"} for stage in ("featurize", "evaluate", "export")}  # with front_end micro
WITH_TENSORFLOW = {"train", "export"}


def is_below(path: str, folders: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def libraries_of(modules: Iterable[str], imported: Iterable[str]) -> set[str]:
    """The libraries that modules of ours name in an import and that were imported, without plumbing."""
    named: set[str] = set()
    for module in modules:
        for node in ast.walk(ast.parse((ROOT / module).read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            named |= {name.partition(".")[0] for name in names}
    distributions = packages_distributions()
    found = {name for package in named & set(imported) for name in distributions.get(package, ())}
    return {name.lower().replace("_", "-").removesuffix("-cpu") for name in found} - PLUMBING


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_what_it_reads(finished, stage):
    from kws.tracking.registry import REQUIRED, SHIPPED

    record = json.loads((finished.root.parent / f"{stage}.json").read_text())
    listed = PIPELINE["stages"][stage]
    deps = set(listed["deps"])
    params = {name for name in listed["params"] if isinstance(name, str)}
    if {"params.yaml": None} in listed["params"]:  # DVC's way to say: all of them
        params = set(Params.model_fields)
    assert set(record["params"]) - UNSEEN.get(stage, set()) <= params
    assert params - set(record["params"]) <= READ_ELSEWHERE.get(stage, params)

    code = {path for path in record["modules"] if not path.startswith("src/kws/tracking/")} - {"src/kws/__init__.py"}
    assert {path for path in code if not is_below(path, deps)} == set()
    shipped = {f"src/kws/{package}" for package in SHIPPED} if stage == "project" else set()
    assert shipped <= deps
    packages = {dep for dep in deps if dep.startswith("src/")} - shipped
    assert {package for package in packages if not any(is_below(path, {package}) for path in code)} == set()

    [versions] = [entry["versions.yaml"] for entry in listed["params"] if "versions.yaml" in entry]
    pinned = set(REQUIRED) if stage == "project" else set()  # by the registered model
    demanded = {library for module in code for library in ON_DEMAND.get(module, ())}
    demanded |= MICRO.get(stage, set())
    assert set(versions) == libraries_of([*code, f"stages/{stage}.py"], record["imports"]) | demanded | pinned

    assert ("tensorflow" in record["imports"]) == (stage in WITH_TENSORFLOW)

    written = {out if isinstance(out, str) else next(iter(out)) for kind in KINDS for out in listed.get(kind, ())}
    data = {path for path in record["files"] if path.startswith(("data/", "metrics/", "models/", "plots/"))}
    assert {path for path in data if not is_below(path, deps | written) and ".partial-" not in path} == set()


def test_the_package_itself_holds_nothing_that_a_stage_could_depend_on():
    _, *statements = ast.parse((ROOT / "src" / "kws" / "__init__.py").read_text()).body
    assert [ast.unparse(statement) for statement in statements] == ["import kws.core"]


def changed_stages(project) -> set[str]:
    """The stages that `dvc repro` would run, beside the one that always runs."""
    return set(json.loads(project.run("dvc", "status", "--json"))) - {"watch"}


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_a_colour_a_line_of_tracking_and_a_comment_in_the_projection_train_nothing(project):
    colours = project.root / "src/kws/plots/figures.py"
    colours.write_text(colours.read_text().replace("petroff10", "tab10"))
    append(project.root / "src/kws/tracking/run.py", "\nUNUSED = 1\n")
    append(project.root / "src/kws/project/projection.py", "# a comment\n")
    features, model = (project.root / name for name in ("data/features/spec.json", "models/kws.keras"))
    before = features.read_bytes(), model.read_bytes(), (project.root / "plots/train/curves.png").read_bytes()
    assert ran(project.run("dvc", "repro", KWS_TRACKING="off")) == ["featurize", "evaluate", "project"]
    assert (features.read_bytes(), model.read_bytes()) == before[:2]
    assert (project.root / "plots/train/curves.png").read_bytes() != before[2]  # the curves have the new colour


def test_what_can_change_a_stage_runs_it_again_and_nothing_else_does(project):
    for path, stages in {
        "src/kws/train/networks/cnn.py": {"train", "export"},
        "src/kws/spotting/service.py": {"evaluate", "export", "project"},  # goes into the registry with the model
        "src/kws/export/c_header.py": {"export"},
        "src/kws/download/fetch.py": {"download"},
        "src/kws/commands/compare.py": set(),
        "src/kws/tracking/run.py": set(),
    }.items():
        before = (project.root / path).read_text()
        append(project.root / path, "\nUNUSED = 1\n")
        assert changed_stages(project) == stages, path
        (project.root / path).write_text(before)


def test_a_new_version_of_tensorflow_in_the_lock_runs_the_stages_again_that_compute_with_it(project):
    versions = project.root / "versions.yaml"
    locked = yaml.safe_load(versions.read_text())
    versions.write_text(yaml.safe_dump(locked | {"tensorflow": "99.0"}))
    assert changed_stages(project) == WITH_TENSORFLOW
    versions.write_text(yaml.safe_dump(locked | {"umap-learn": "99.0"}))
    assert changed_stages(project) == {"project"}
