"""The pipeline as its users run it: the real dvc, MLflow and git, in small projects of their own."""

import errno
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from checkout import LATENCIES, ROOT, STAGES, Project, assert_complete, outputs, ran
from conftest import recorded

from kws.core.params import read_yaml
from kws.records.clips import cached_clips
from kws.records.spec import FeatureSpec
from kws.records.write import RecordWriter
from kws.spotting.litert import KINDS, Network

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),  # MLflow, of itself
]
UNDER_WAY = {  # what is there while a stage works, and not before or after
    "download": "data/.partial-raw/.partial-synthetic.tar",
    "featurize": "data/.partial-features/*.tfrecord",
    "train": ".scratch/training/*/[0-9]*/history.json",
    "evaluate": "plots/.partial-evaluate/*.csv",
    "export": "models/.partial-export/*",
    "project": "plots/.partial-project/*",
}


KILLED_AT_WORK = """#!/bin/sh
exec '{python}' -c '
import glob, os, runpy, signal, sys
looking = False
def look(event, _):
    global looking
    if looking or event not in ("open", "os.rename", "os.remove", "shutil.rmtree"):
        return
    looking = True
    if glob.glob(os.environ["UNDER_WAY"]):
        os.killpg(0, signal.SIGKILL)
    looking = False
sys.addaudithook(look)
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""


@pytest.fixture(scope="module")
def deadly(tmp_path_factory) -> Path:
    """A folder with a `python` in which a stage, once it has made what UNDER_WAY names, kills itself, DVC and all.

    It looks before each file is opened, renamed or removed, so that nothing the stage makes can come and go unseen.
    """
    python = tmp_path_factory.mktemp("deadly") / "python"
    python.write_text(KILLED_AT_WORK.format(python=sys.executable))
    python.chmod(0o755)
    return python.parent


@pytest.fixture(scope="module")
def killed(finished, tmp_path_factory, deadly) -> tuple[Project, dict[str, list[str]], list[str]]:
    """A clone in which `dvc repro` was killed in each stage, and then was not; what dvc.lock held after each kill;
    the stages that ran at last.
    """
    clone = finished.clone(tmp_path_factory.mktemp("killed") / "a clone")
    (clone.root / "dvc.lock").unlink()
    path = f"{deadly}{os.pathsep}{clone.environment['PATH']}"
    locked = {}
    for stage, sign in UNDER_WAY.items():
        code, printed = clone.try_to("dvc", "repro", PATH=path, UNDER_WAY=sign)
        assert code == -signal.SIGKILL, printed
        assert any(clone.root.glob(sign)), f"{sign} is gone: {stage} was not killed at work"
        locked[stage] = list(yaml.safe_load(clone.lock())["stages"]) if (clone.root / "dvc.lock").exists() else []
    return clone, locked, ran(clone.run("dvc", "repro"))


def test_one_command_makes_all_that_dvc_yaml_promises(finished):
    missing = [path for path in outputs(in_git=True) | outputs(in_git=False) if not (finished.root / path).exists()]
    assert missing == []
    [run] = finished.runs()
    assert_complete(run, finished)
    assert set(run.data.metrics) >= LATENCIES


def test_one_wake_word_and_six_test_clips_go_through_all_stages(project):
    project.set(words=["hey_jarvis"], unknown=1.0, silence=0.5, synthetic_speakers=20)
    printed = project.run("dvc", "repro")
    assert "the voices also say 40 other words, made up for _unknown_: afternoon, " in printed
    assert "left out: 6 test clips are too few for UMAP and t-SNE, which need 7" in printed
    missing = [path for path in outputs(in_git=True) | outputs(in_git=False) if not (project.root / path).exists()]
    assert missing == []
    spec = json.loads((project.root / "data/features/spec.json").read_text())
    assert spec["classes"] == ["hey_jarvis", "_unknown_", "_silence_"]
    computed = {"unheard_validation": 240, "unheard_test": 240}  # other voices say words that training does not hear
    assert spec["clips"] == {"train": 16 + 16 + 8, "validation": 6, "test": 6} | computed
    assert "rejected of 240 clips of words never heard: " in printed
    card = (project.root / "models/README.md").read_text()
    assert card.startswith("# Model card: 1 spoken word\n")
    assert "| other words that training contains: rejected |" in card
    assert project.run("dvc", "plots", "show", "--show-vega", "plots/project/umap.csv").strip() == "{}"  # and no error
    [run] = project.runs()
    assert run.info.status == "FINISHED"
    assert {"recall_hey_jarvis", "recall__unknown_", "project/pca_trustworthiness"} < set(run.data.metrics)


def test_the_preset_of_devices_goes_from_recordings_to_figures(tmp_path, environment):
    project = Project.create(tmp_path / "project", environment)
    preset = read_yaml(ROOT / "presets" / "device.yaml") | {"unknown": 1.0, "silence": 1.0, "width": 0.25}
    project.set(**preset | {"epochs": 1, "warmup_epochs": 0}, words=["no"], synthetic_speakers=20, stream_minutes=1)
    printed = project.run("dvc", "repro", "evaluate", KWS_TRACKING="off", **recorded(tmp_path, environment))
    assert ran(printed) == ["download", "featurize", "train", "evaluate"]
    spec = FeatureSpec.read(project.root / "data/features/spec.json")
    assert (spec.front_end.kind, spec.front_end.frames) == ("micro", 98)
    for split in ("train", "validation", "test"):
        features = np.stack([clip.log_mel for clip in cached_clips(project.root / "data/features", split, spec)])
        assert features.shape[1:] == (98, 40)
        assert features.min() == 0
        assert 15 < features.max() < 27
    figures = json.loads((project.root / "metrics/evaluate.json").read_text())
    assert {"accuracy", "noise_0db_accuracy", "stream_missed", "int8_noise_lost"} <= set(figures)
    imported = {
        stage: "pymicro_features" in json.loads((tmp_path / f"{stage}.json").read_text())["imports"]
        for stage in ("download", "featurize", "train", "evaluate")
    }
    assert imported == {"download": False, "featurize": True, "train": False, "evaluate": True}


def test_git_is_shown_the_small_results_and_nothing_else(finished):
    committed = finished.run("git", "diff", "--name-only", "HEAD~1", "HEAD").splitlines()
    assert set(committed) == outputs(in_git=True) | {"dvc.lock"}
    assert finished.changed() == []
    assert finished.leftovers() == []


def test_a_second_time_nothing_runs(finished):
    assert ran(finished.run("dvc", "repro")) == []
    assert json.loads(finished.run("dvc", "status", "--json")) == {"watch": ["always changed"]}


def test_a_pipeline_that_was_killed_in_each_stage_ends_as_an_undisturbed_one(finished, killed):
    clone, locked, at_last = killed
    assert locked == {stage: ["watch", *STAGES[: STAGES.index(stage)]] for stage in UNDER_WAY}
    assert at_last == ["project"]
    assert clone.lock() == finished.lock()
    assert clone.changed() == []
    assert clone.leftovers() == []
    [run] = clone.runs()
    assert_complete(run, clone)


def test_a_forced_run_in_another_clone_gives_the_same_bytes_and_no_second_run_in_mlflow(finished, killed):
    clone, *_ = killed
    assert ran(clone.run("dvc", "repro", "--force")) == STAGES
    assert clone.lock() == finished.lock()
    assert clone.changed() == []
    assert clone.leftovers() == []
    [run] = clone.runs()
    assert_complete(run, clone)


def test_a_stage_started_by_hand_writes_the_bytes_that_it_writes_for_dvc(project, finished, monkeypatch):
    monkeypatch.setenv("KWS_TRACKING", "off")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    monkeypatch.chdir(project.root)
    for stage, output in (("train", "models/kws.keras"), ("evaluate", "data/answers.npz")):
        Path(output).unlink()
        monkeypatch.setattr(sys, "argv", [f"{stage}.py"])
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="__main__")
        assert Path(output).read_bytes() == (finished.root / output).read_bytes()
    assert project.changed() == []
    assert project.leftovers() == []


def mounting_is_allowed() -> bool:
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not mounting_is_allowed(), reason="no file system may be mounted here, not even in a namespace")
@pytest.mark.parametrize(
    ("stage", "folder", "output"),
    [
        ("featurize", "data", "data/features"),
        ("train", ".scratch", "models/kws.keras"),
        ("train", "models", "models/kws.keras"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_made(project, stage, folder, output):
    path = project.root / output
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    # a disk of 100 kB in place of the folder, with links to what was in it
    script = """
mkdir -p "$2"; mv "$2" kept; mkdir "$2"; mount -t tmpfs -o size=100k tmpfs "$2"
find "$PWD/kept" -mindepth 1 -maxdepth 1 -exec ln -s '{}' "$2" ';'
python "stages/$1.py"; echo "exit code $?"; find "$2" -type f ! -name "*.lock"
"""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", stage, folder]
    printed = project.run(*command, PYTHONPATH="src", KWS_TRACKING="off").splitlines()
    assert printed[-1] == "exit code 1", printed
    [line] = printed[:-1]
    assert line.startswith("error: the disk is full (")
    assert not path.exists()


@pytest.mark.parametrize(("stage", "output"), [("featurize", "data/features"), ("train", "models/kws.keras")])
def test_a_writer_that_finds_the_disk_full_is_one_line(project, monkeypatch, stage, output):
    import keras

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    monkeypatch.setattr(keras.Model, "save_weights", full)  # after the first epoch
    monkeypatch.setenv("KWS_TRACKING", "off")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    monkeypatch.setattr(sys, "argv", [f"{stage}.py"])
    monkeypatch.chdir(project.root)
    before = {path: path.stat().st_mtime_ns for path in Path(output).parent.rglob("*")}
    with pytest.raises(SystemExit, match=r"^error: the disk is full \("):
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="__main__")
    assert {path: path.stat().st_mtime_ns for path in Path(output).parent.rglob("*")} == before
    assert project.leftovers() == []


def test_an_export_that_answers_otherwise_than_the_network_is_refused_and_changes_nothing(project, monkeypatch):
    from kws.export import convert

    def off(power: Any, weights: Any) -> Any:
        return power @ weights * 1.5

    monkeypatch.setattr(convert, "_mel_power", off)
    monkeypatch.setenv("KWS_TRACKING", "off")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    monkeypatch.setattr(sys, "argv", ["export.py"])
    monkeypatch.chdir(project.root)
    with pytest.raises(SystemExit, match=r"^error: the export is refused: float32: .*probabilities differ by [^\n]*$"):
        runpy.run_path(str(ROOT / "stages" / "export.py"), run_name="__main__")
    assert project.changed() == []
    assert project.leftovers() == []
    assert "up to date" in project.run("dvc", "status", "export")


def test_a_causal_network_is_exported_to_hear_step_by_step_too(project, monkeypatch):
    project.set(model="tc_resnet", causal=True)
    monkeypatch.setenv("KWS_TRACKING", "off")
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    monkeypatch.chdir(project.root)
    for stage in ("train", "export"):
        monkeypatch.setattr(sys, "argv", [f"{stage}.py"])
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="__main__")
    written = {path.name for path in Path("models/export").iterdir()}
    assert written == {*KINDS.values(), "front_end.npz", "kws_model.h"}
    about = json.loads(Path("metrics/export.json").read_text())
    assert about["float32_agreement"] == about["stream_agreement"] == 1
    assert about["stream_largest_difference"] <= 1e-4
    assert abs(about["stream_features_accuracy"] - about["features_accuracy"]) <= 1 / about["test_clips"]
    assert 5 * about["stream_multiplications_a_second"] <= about["float32_multiplications_a_second"]
    assert about["stream_multiplications_a_second"] == round(
        about["stream_multiplications"] * 16_000 / Network.load(Path("models/export/kws_stream.tflite")).length
    )
    header = Path("models/export/kws_model.h").read_text()
    assert "#define KWS_INPUT_FRAMES 8 " in header
    assert "/* kws_stream_features.tflite */" in header


def test_the_exported_model_of_a_pipeline_answers_from_another_folder(finished, tmp_path):
    about = json.loads((finished.root / "metrics" / "export.json").read_text())
    assert about["float32_agreement"] == about["sliding_agreement"] == 1
    assert about["float32_largest_difference"] <= 1e-4
    assert (
        about["float32_accuracy"] == json.loads((finished.root / "metrics" / "evaluate.json").read_text())["accuracy"]
    )
    project = Project(tmp_path, finished.environment)
    archive = str(finished.root / "data/raw/synthetic.tar")
    project.run("tar", "--extract", "--file", archive, "--wildcards", "yes/*")
    command = ["-m", "kws", "predict", "--json", "--model", str(finished.root / "models/export/kws_int8.tflite"), "yes"]
    answers = project.run(sys.executable, *command, PYTHONPATH=str(finished.root / "src")).splitlines()
    heard = [json.loads(answer)["answers"][0]["word"] for answer in answers]
    assert len(heard) == 40
    assert heard.count("yes") > 30
