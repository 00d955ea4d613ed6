"""Runs experiments with the pipeline's stages in scratch folders. The benchmarks share this code."""

import argparse
import csv
import hashlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kws.core.files import folder_written_whole, read_json, sha256_of, write_csv
from kws.core.params import read_yaml
from kws.download.sources import PUBLISHED, obtain
from kws.evaluate.answers import Answers
from kws.evaluate.metrics import share_figures
from kws.evaluate.network import EvaluatedNetwork
from kws.evaluate.scores import answer_clips
from kws.recordings.archive import read_contents, read_members
from kws.recordings.layout import understand
from kws.recordings.people import speaker_split
from kws.records.spec import FeatureSpec
from kws.records.write import BACKGROUND_FILE

ROOT = Path(__file__).parent.parent
SEEDS = (1, 2, 3)
EIGHT = ("down", "go", "left", "no", "right", "stop", "up", "yes")
TEN = tuple(sorted((*EIGHT, "bed", "cat")))
TIMES = "times.json"  # of training, in an experiment's folder
TRAINED = (  # what training writes
    "models/kws.keras",
    "models/network.tflite",
    "models/network_int8.tflite",
    "models/streams",
    "plots/train/history.csv",
    "metrics/train.json",
    TIMES,
)


def preset(name: str) -> dict[str, Any]:
    """The overrides of a preset."""
    return read_yaml(ROOT / "presets" / f"{name}.yaml")


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mirror", help="address of the folder that holds the archives, https:// or file://")
    options.add_argument(
        "--networks",
        type=Path,
        help="folder of trained networks: what is there is not trained again, while parameters and features are the "
        "same; give an empty one after a change of src/kws/train",
    )
    return options


def address(mirror: str | None, dataset: str) -> str:
    """The address of a published archive on the mirror; empty without a mirror."""
    return f"{mirror}/{PUBLISHED[dataset].name}" if mirror else ""


def ten(mirror: str | None) -> dict[str, Any]:
    """The parameters of the words *ten*."""
    return {"dataset": "speech_commands", "words": list(TEN), "dataset_url": address(mirror, "speech_commands")}


def write_official_test(mirror: str | None, target: Path) -> None:
    """Writes the official test clips of *ten* into an archive, to test networks that were trained on other voices."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(target, "w") as out:
        obtained, _ = obtain(Path(folder), "speech_commands", address(mirror, "speech_commands"))
        archive = Path(folder, obtained.archive)
        clips = understand(read_contents(archive), TEN).clips
        chosen = {clip.name for clip in clips if clip.word in TEN and speaker_split(clip.speaker) == "test"}
        for name, data in read_members(archive, chosen):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))


@contextmanager
def downloaded(changes: Mapping[str, Any]) -> Iterator[Path]:
    """A scratch folder with the recordings of an experiment, in which `run` can be called repeatedly."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "data").mkdir()
        stage("download", project, changes)
        yield project


def run(
    project: Path, changes: Mapping[str, Any], networks: Path | None = None, *, evaluated: bool = True
) -> dict[str, dict[str, float]]:
    """Runs one experiment and returns its figures by stage, with `cpu_seconds` and `seconds` of training.

    Args:
        project: the folder with the recordings.
        changes: to the committed parameters. Parameters of stage download must be as in `downloaded`.
        networks: folder of trained networks: one that is there is not trained again, a new one goes there.
        evaluated: whether to evaluate on the test clips; if not, the figures are those of training.
    """
    featurize(project, changes)
    _train(project, changes, networks)
    if evaluated:
        stage("evaluate", project, changes)
    metrics = {path.stem: read_json(path) for path in (project / "metrics").iterdir()}
    return metrics | {"train": metrics["train"] | read_json(project / TIMES)}


def featurize(project: Path, changes: Mapping[str, Any]) -> None:
    """Computes the features of an experiment, unless they are in the folder. Parameters as of `run`."""
    params = _params(changes)
    features = json.dumps({name: params[name] for name in _depends_on("featurize")})
    computed = project / "features.json"  # the parameters of the features in the folder, from the run before
    if not computed.exists() or computed.read_text() != features:
        stage("featurize", project, changes)
        computed.write_text(features)


def quiet_figures(project: Path) -> tuple[Answers, dict[str, float]]:
    """What the trained network of a project makes of its test clips: the answers, and accuracy with its interval."""
    features = project / "data" / "features"
    network = EvaluatedNetwork(project / "models" / "network.tflite", threads=2)
    answers = answer_clips(network, features, "test", FeatureSpec.read(features / "spec.json"))
    figures = share_figures("accuracy", answers.correct, answers.speakers)
    rounded = {name: round(value, 6) for name, value in figures.items()}
    return answers, {"test_clips": len(answers.names)} | rounded


def _train(project: Path, changes: Mapping[str, Any], networks: Path | None) -> None:
    """Trains the network, or takes it from the folder of networks."""
    kept = networks and networks / _key(project, _params(changes))
    if kept and kept.exists():
        shutil.rmtree(project / "models", ignore_errors=True)  # of the run before: streams that this one does not have
        shutil.copytree(kept, project, dirs_exist_ok=True)
        return
    before, started = _cpu_seconds(), time.monotonic()
    stage("train", project, changes)
    times = {"cpu_seconds": round(_cpu_seconds() - before), "seconds": round(time.monotonic() - started)}
    (project / TIMES).write_text(json.dumps(times))
    if kept:
        with folder_written_whole(kept) as folder:
            for name in TRAINED:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (project / name).is_dir() else shutil.copy
                copy(project / name, folder / name)


def _key(project: Path, params: Mapping[str, Any]) -> str:
    """Stands for all that training reads: its parameters, and the features of training and validation."""
    read = {name: params[name] for name in _depends_on("train")}
    digest = hashlib.sha256(json.dumps(read, sort_keys=True).encode())
    folder = project / "data" / "features"
    for path in sorted([*folder.glob("train-*"), *folder.glob("validation-*"), folder / BACKGROUND_FILE]):
        digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()[:16]


def _depends_on(stage: str) -> list[str]:
    """The parameters that a stage reads, by dvc.yaml; the locked versions stand there, too."""
    return [name for name in read_yaml(ROOT / "dvc.yaml")["stages"][stage]["params"] if isinstance(name, str)]


def stage(name: str, project: Path, changes: Mapping[str, Any]) -> None:
    """Runs a stage in a scratch folder, with these changes to the committed parameters."""
    write_params(project, changes)
    subprocess.run(command_of(name), cwd=project, env=environment_of(project), check=True)  # noqa: S603 (our own scripts)


def write_params(project: Path, changes: Mapping[str, Any]) -> None:
    """Writes the committed parameters with changes."""
    (project / "params.yaml").write_text(yaml.safe_dump(_params(changes)))


def command_of(name: str) -> list[str]:
    """What runs a stage."""
    return [sys.executable, str(ROOT / "stages" / f"{name}.py")]


def environment_of(project: Path) -> dict[str, str]:
    """The environment of a stage in a scratch folder."""
    return os.environ | {"DVC_ROOT": str(project), "KWS_TRACKING": "off", "PYTHONPATH": str(ROOT / "src")}


def _params(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The committed parameters with changes. The working copy may have those of an experiment."""
    committed = subprocess.check_output(["git", "show", "HEAD:params.yaml"], cwd=ROOT, text=True)  # noqa: S607 (git)
    return yaml.safe_load(committed) | dict(changes)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def add_row(table: Path, row: Mapping[str, Any], columns: Sequence[str], key: Sequence[str]) -> None:
    """Adds a row to a table. It replaces a row with the same key."""
    rows: list[Mapping[str, Any]] = []
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            rows = [old for old in csv.DictReader(file) if any(old[name] != str(row[name]) for name in key)]
    write_csv(table, sorted([*rows, row], key=lambda r: [str(r[name]) for name in key]), columns)


def peak_bytes(usage: resource.struct_rusage) -> int:
    """The most memory that a process had. Linux counts in kB, macOS in bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
