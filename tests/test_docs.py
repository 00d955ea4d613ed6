"""What the documents say is so: commands, parameters, files, links, figures."""

import csv
import os
import re
import runpy
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT

from kws.audio.frontend import FrontEnd
from kws.commands import embedding
from kws.commands.exp import split_settings
from kws.core.files import read_json
from kws.core.params import Params, read_yaml
from kws.train.networks import NETWORKS

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CHECKS = {"in-git", "mended"}  # targets that nobody types
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)) - CHECKS


def commands() -> list[list[str]]:
    """The lines of all code blocks that start with a program of ours."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            lines += [
                shlex.split(line, comments=True)
                for line in block.replace("\\\n", "").splitlines()
                if re.match(r"(make|dvc)\b", line)
            ]
    return lines


COMMANDS = commands()


def test_there_are_commands_to_test():
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_targets_of_make_exist(command):
    assert {word for word in command[1:] if "=" not in word} <= TARGETS


def test_presets_in_commands_exist():
    presets = {word.removeprefix("PRESET=") for c in COMMANDS for word in c if word.startswith("PRESET=")}
    assert presets | {embedding.PRESET} == {path.stem for path in (ROOT / "presets").glob("*.yaml")}


@pytest.mark.parametrize("command", sorted({tuple(c) for c in COMMANDS if c[0] == "dvc"}), ids=" ".join)
def test_commands_of_dvc_exist_with_their_options(command):
    from dvc.cli import parse_args

    parse_args([word.replace("<name>", "name") for word in command[1:]])  # exits where DVC knows no such thing


def test_parameters_in_commands_exist():
    settings = [word for c in COMMANDS for option, word in pairwise(c) if option == "-S"]
    settings += [
        word
        for c in COMMANDS
        for one in c
        if one.startswith("SET=")
        for word in split_settings(one.removeprefix("SET="))
    ]
    keys = {word.split("=")[0] for word in settings}
    assert keys
    assert keys <= set(Params.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_paths_named_in_the_readme_exist():
    generated = {"data/raw", "data/features", "mlflow.db", "mlartifacts/"}
    for path in re.findall(
        r"`((?:src|stages|docs|tests|benchmarks|params|data|models|metrics|plots)[\w/.]*)`",
        (ROOT / "README.md").read_text(),
    ):
        assert path in generated or path.startswith(("models/", "plots/project/")) or (ROOT / path).exists(), path


def test_the_table_is_what_the_benchmark_wrote(monkeypatch):
    monkeypatch.chdir(ROOT)
    table = runpy.run_path("docs/readme.py")["table"]()
    assert table in Path("README.md").read_text()
    assert table.count("\n") == 1 + 3


def test_the_table_of_the_presets_is_what_the_benchmark_wrote(monkeypatch):
    monkeypatch.chdir(ROOT)
    table = runpy.run_path("docs/readme.py")["presets"]()
    assert table in Path("README.md").read_text()
    for preset in ("fast", "balanced", "best"):
        assert f"| {preset} |" in table


@pytest.mark.parametrize(
    ("page", "block"),
    [
        ("docs/recipes.md", "ablation"),
        ("docs/speed.md", "speed"),
        ("docs/data.md", "find_words"),
        ("docs/evaluation.md", "coverage"),
        ("docs/decisions/0009-a-word-is-told-at-once.md", "detection_rule"),
        ("docs/decisions/0009-a-word-is-told-at-once.md", "detection_sweep"),
        ("README.md", "learning_curve"),
        ("README.md", "training_times"),
        ("README.md", "verdict"),
        ("docs/larger-machines.md", "memory"),
        ("docs/training-workers.md", "training_workers"),
        ("docs/faults.md", "torture"),
        ("docs/few-recordings.md", "few_recordings"),
        ("docs/cluster.md", "cluster"),
        ("docs/cluster.md", "cluster_names"),
        ("docs/cluster.md", "cluster_extrapolation"),
    ],
)
def test_the_tables_of_the_other_pages_are_what_the_benchmarks_wrote(monkeypatch, page, block):
    monkeypatch.chdir(ROOT)
    assert runpy.run_path("docs/readme.py")[block]() in Path(page).read_text()


def test_what_is_said_of_the_clients_of_wyoming_is_what_was_counted():
    counted = read_json(ROOT / "benchmarks" / "wyoming_clients.json")
    assert counted["clients"] == counted["clients_in_order"]
    assert (
        "With {clients} clients and {hours_of_sound} hours of sound, of {detections} detections {lost} were lost, and "
        "{made_up} were made up. The server had {peak_memory_mb} MB of memory at most, with a model of {model_mb} MB."
    ).format(**counted) in " ".join((ROOT / "docs" / "home-assistant.md").read_text().split())


@pytest.mark.parametrize("preset", ["fast", "balanced", "best"])
def test_the_figures_of_a_preset_are_of_the_preset_as_it_is(preset):
    values = read_yaml(ROOT / "presets" / f"{preset}.yaml")
    frames = FrontEnd.from_params(Params(**(read_yaml(ROOT / "params.yaml") | values))).frames
    network = NETWORKS[values["model"]](frames, values["mel_bins"], 10, values["width"])
    with (ROOT / "benchmarks" / "presets.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] == preset]
    assert {row["seed"] for row in rows} == {"1", "2", "3", "all"}
    told = {(int(row["epochs"]), int(row["parameters"])) for row in rows if row["seed"] != "all"}
    assert told == {(values["epochs"], network.count_params())}


def test_make_help_lists_every_target():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    command = ["make", "help"]
    listed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in listed.splitlines()} == TARGETS


def test_the_tree_of_the_readme_names_the_stages_of_the_pipeline():
    text = (ROOT / "README.md").read_text()
    for stage in ("download", "featurize", "train", "evaluate", "export", "project"):
        assert (ROOT / "stages" / f"{stage}.py").exists()
        assert stage in text


def test_no_page_names_a_registry_or_a_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        assert f"requirements/{lock.name}" in tracked
        assert not re.search(r"https?://", lock.read_text())


def test_the_table_of_changes_names_every_package_and_no_path_that_is_gone():
    table = (ROOT / "README.md").read_text().partition("## To change X, go to Y")[2]
    named = {path for path in re.findall(r"`([\w./-]+)`", table) if "/" in path}
    assert {path for path in named if not (ROOT / path).exists()} == set()
    packages = [path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "src" / "kws").rglob("__init__.py")]
    assert [package for package in packages if not any(path.startswith(package) for path in named)] == []
