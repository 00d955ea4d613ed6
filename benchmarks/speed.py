"""Compares the speed of the pipeline with other programs and with its limits: `make bench`.

    python benchmarks/speed.py --archive data/raw/mini_speech_commands.zip             # everything, about 20 minutes
    python benchmarks/speed.py --archive ... --section training --repeats 1 --clips 500
    python benchmarks/speed.py --archive ... --before ../kws-old                       # an older checkout beside it

Every figure is a ratio of two medians. The two programs run in turn, `--repeats` times each, in new processes. In the
figures of growth, the sizes run one after the other, and the largest runs once. Writes benchmarks/speed.json,
benchmarks/speed.md (the table) and benchmarks/growth.png. Run it on an otherwise idle machine. Peers that are not
installed (`pip install librosa torch`) are left out, with a message.
"""

import argparse
import importlib.util
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from runs import peak_bytes

from kws.core.files import sha256_of, write_json, written_whole
from kws.core.params import load_params
from kws.recordings.archive import read_members
from kws.recordings.clips import UNHEARD, Clip, write_clips
from kws.recordings.source import Archive, DataSource
from kws.tracking.run import STAGES

ROOT = Path(__file__).parent.parent
WORDS = ["down", "go", "left", "no", "right", "stop", "up", "yes"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src"), "KWS_TRACKING": "off", "TF_CPP_MIN_LOG_LEVEL": "3"}
CONTENDERS = ROOT / "benchmarks" / "contenders.py"
PEERS = {"tutorial": "tensorflow", "batched": "tensorflow", "librosa": "librosa", "torch": "torch"}
PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "numpy",
    "scipy",
    "librosa",
    "torch",
    "dvc",
    "mlflow",
    "umap-learn",
)


@dataclass(frozen=True)
class Run:
    """A process: its seconds, its peak memory in MB, and the figures that it printed."""

    seconds: float
    memory: float
    figures: dict[str, float]


def run(command: Sequence[str | Path], folder: Path) -> Run:
    """Runs a process and waits for its end."""
    started = time.perf_counter()
    environment = ENVIRONMENT | {"DVC_ROOT": str(folder)}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        printed = process.stdout.read().decode().splitlines()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} ended with exit code {process.returncode}")
    figures = json.loads(printed[-1]) if printed and printed[-1].startswith("{") else {}
    return Run(seconds, peak_bytes(used) / 2**20, figures)


def alternately(commands: Mapping[str, Sequence[str | Path]], folder: Path, repeats: int) -> dict[str, list[Run]]:
    """Runs the commands in turn, `repeats` times, in the folder."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(run(command, folder))
            print(f"  {name}: {runs[name][-1].seconds:.2f} s", flush=True)
    return runs


def seconds(runs: Iterable[Run]) -> float:
    """The median of the seconds."""
    return statistics.median(one.seconds for one in runs)


def figure(runs: Iterable[Run], name: str) -> float:
    """The median of a figure that the processes printed."""
    return statistics.median(one.figures[name] for one in runs)


def contender(name: str, source: Path, results: Path) -> list[str | Path]:
    """The command of a contender."""
    return [sys.executable, CONTENDERS, name, source, results]


def stage(name: str, root: Path = ROOT) -> list[str | Path]:
    """The command of a stage, of this checkout or of another one."""
    return ["env", f"PYTHONPATH={root / 'src'}", sys.executable, root / "stages" / f"{name}.py"]


def project(folder: Path, recordings: Sequence[tuple[str, bytes]], clips: int) -> Path:
    """A project with that many downloaded clips: the recordings, repeated under the names of other speakers."""
    raw = folder / "data" / "raw"
    raw.mkdir(parents=True)
    listed = []
    with tarfile.open(raw / "clips.tar", "w") as tar:
        for number, (name, data) in zip(range(clips), itertools.cycle(recordings), strict=False):
            word, _, file = name.rpartition("/")
            copy = "" if number < len(recordings) else f"{number // len(recordings)}x"
            clip = f"{Path(word).name}/{copy}{file}"
            add(tar, clip, data)
            listed.append(Clip(clip, Path(word).name, clip))
    write_clips(raw / "clips.csv", listed)
    with tarfile.open(raw / "other_speech.tar", "w") as tar:  # the streams need a clip each
        for split, (_, data) in zip(UNHEARD, recordings, strict=False):
            add(tar, f"{split}.wav", data)
    write_clips(raw / "other_speech.csv", [Clip(f"{split}.wav", "other", split, split) for split in UNHEARD])
    (raw / "clips.txt").write_text("".join(f"{clip.name}\n" for clip in listed))  # of checkouts before clips.csv
    source = DataSource(
        **vars(archive_at(raw / "clips.tar")),
        synthetic=False,
        speakers="one a file",
        given_splits=False,
        words={},
        clips=clips,
        test=None,
        test_synthetic=False,
        computed=None,
        other_speech=archive_at(raw / "other_speech.tar"),
        unheard=dict.fromkeys(UNHEARD.values(), "computed"),
    )
    write_json(raw / "source.json", source.to_json())
    values = load_params(ROOT / "params.yaml").model_dump() | {"words": WORDS, "split": "random"}  # any number will do
    set_params(folder, values)
    return folder


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a file to an archive."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, BytesIO(data))


def archive_at(path: Path) -> Archive:
    """What is known of an archive of ours."""
    return Archive(path.name, path.name, path.name, path.stat().st_size, sha256_of(path), False, "not known")


def set_params(folder: Path, values: Mapping[str, Any]) -> None:
    """Writes the parameters of a project."""
    (folder / "params.yaml").write_text(json.dumps(values))  # JSON is YAML


def features(recordings: Sequence[tuple[str, bytes]], asked: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """Compares featurize with its peers and with the sum of its parts."""
    folder = project(scratch / "features", recordings, asked.clips)
    archive, results = folder / "data" / "raw" / "clips.tar", folder / "results"
    there = [peer for peer, package in PEERS.items() if importlib.util.find_spec(package)]
    for peer in [name for name in PEERS if name not in there]:
        print(f"  {peer}: left out, {PEERS[peer]} is not installed")
    commands: dict[str, Sequence[str | Path]] = {"stage": stage("featurize")}
    if asked.before:
        commands["the stage before"] = stage("featurize", asked.before)
    commands |= {name: contender(name, archive, results) for name in ("ours", "floors", *there)}
    runs = alternately(commands, folder, asked.repeats)
    peers = [*there, "the stage before"] if asked.before else there
    ratios = {f"featurize against {peer}": seconds(runs[peer]) / seconds(runs["stage"]) for peer in peers}
    parts = {name: figure(runs["floors"], name) for name in runs["floors"][0].figures}
    work = figure(runs["ours"], "seconds")
    ratios |= {"featurize, share of the floor": sum(parts.values()) / work}
    ratios |= {f"floor: {name}, share of featurize": part / work for name, part in parts.items()}
    return ratios


def training(recordings: Sequence[tuple[str, bytes]], asked: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """Compares training with `model.fit` and with the products of its layers, and the input with a small network."""
    folder = project(scratch / "training", recordings, asked.clips)
    run(stage("featurize"), folder)
    names = ("train_ours", "plain_fit", "products", "train_augmented", "input_augmented")
    commands = {name: contender(name, folder / "data" / "features", folder / "results") for name in names}
    runs = alternately(commands, folder, asked.repeats)
    rate = {name: figure(runs[name], "clips a second") for name in names}
    return {
        "cnn training against model.fit on arrays": rate["train_ours"] / rate["plain_fit"],
        "cnn training, share of its matrix products": rate["train_ours"] / rate["products"],
        "input, share of training (tc_resnet, augmented)": rate["train_augmented"] / rate["input_augmented"],
    }


def fixed(_: Sequence[tuple[str, bytes]], asked: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """Compares the time that stages and `dvc repro` need before they do any work."""
    plain = [sys.executable, "-c", "import numpy, matplotlib.pyplot"]
    commands: dict[str, Sequence[str | Path]] = {"pyplot": plain}
    commands |= {name: [*stage(name), "--help"] for name in STAGES}
    if asked.before:
        there = [name for name in STAGES if (asked.before / "stages" / f"{name}.py").exists()]
        commands |= {f"{name} before": [*stage(name, asked.before), "--help"] for name in there}
    runs = alternately(commands, ROOT, asked.repeats)
    ratios = {
        f"{name}, doing nothing, against pyplot": seconds(runs[name]) / seconds(runs["pyplot"])
        for name in commands
        if name != "pyplot"
    }
    dvc = [sys.executable, "-m", "dvc"]
    empty = scratch / "empty"
    empty.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=empty, check=True)  # noqa: S607
    subprocess.run([*dvc, "init", "-q"], cwd=empty, check=True)  # noqa: S603
    shutil.copy(ROOT / ".dvc" / "config", empty / ".dvc" / "config")
    (empty / "dvc.yaml").write_text(json.dumps({"stages": {f"stage{n}": {"cmd": "true"} for n in range(5)}}))
    run([*dvc, "repro", "-q"], empty)
    if run([*dvc, "status", "--json"], ROOT).figures.keys() - {"watch"}:  # which always runs
        print("  dvc repro with nothing to do: left out, since the pipeline is not up to date; run make first")
        return ratios
    repro = {
        "ours": ["sh", "-c", f"unset DVC_ROOT; cd {ROOT} && {' '.join(dvc)} repro -q"],
        "empty": [*dvc, "repro", "-q"],
    }
    runs = alternately(repro, empty, asked.repeats)
    return ratios | {
        "dvc repro with nothing to do, against five times true": seconds(runs["ours"]) / seconds(runs["empty"])
    }


def growth(recordings: Sequence[tuple[str, bytes]], asked: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """Measures time and memory for several numbers of clips, and draws them."""
    stages = ("featurize", "train", "evaluate", "export")
    curves: dict[str, list[tuple[int, float, float]]] = {name: [] for name in stages}
    for clips in asked.growth:
        folder = project(scratch / f"growth{clips}", recordings, clips)
        values = json.loads((folder / "params.yaml").read_text()) | {"model": "tc_resnet"}
        set_params(folder, values | {"epochs": 1})
        for name in stages:
            if name == "evaluate":  # the export of a network that has hardly learned anything may be refused
                set_params(folder, values | {"epochs": max(2, 20_000 // clips)})
                run(stage("train"), folder)
            repeats = 1 if clips == max(asked.growth) else asked.repeats
            runs = alternately({name: stage(name)}, folder, repeats)[name]
            memory = statistics.median(one.memory for one in runs)
            curves[name].append((clips, seconds(runs) / clips, memory))
        shutil.rmtree(folder)
    picture(curves, ROOT / "benchmarks" / "growth.png")
    least, middle, most = 0, len(asked.growth) // 2, -1
    return {
        f"{name}, time a clip, most against fewest clips": curve[most][1] / curve[least][1]
        for name, curve in curves.items()
    } | {
        f"{name}, peak memory, most against middle": curve[most][2] / curve[middle][2] for name, curve in curves.items()
    }


def picture(curves: Mapping[str, Sequence[tuple[int, float, float]]], path: Path) -> None:
    """Draws time per clip and peak memory over the number of clips, relative to the first."""
    drawing = Figure(figsize=(8, 3.5), layout="constrained")
    for axes, index, label in zip(drawing.subplots(1, 2), (1, 2), ("time a clip", "peak memory"), strict=True):
        for name, curve in curves.items():
            axes.plot([row[0] for row in curve], [row[index] / curve[0][index] for row in curve], "o-", label=name)
        axes.set(xscale="log", ylim=(0, None), xlabel="clips", ylabel=f"{label} (that of the fewest clips = 1)")
        axes.legend(frameon=False)
    drawing.savefig(path, dpi=100, metadata={"Software": None})


SECTIONS = {"features": features, "training": training, "fixed": fixed, "growth": growth}


def machine() -> dict[str, Any]:
    """Processor and versions."""
    cpu = [line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    packages = {one.name: one.version for one in distributions() if one.name.replace("_", "-") in PACKAGES}
    return {"processor": f"{cpu[0]}, {os.cpu_count()} cores", "python": platform.python_version(), "packages": packages}


def _checkout(folder: str) -> Path:
    path = Path(folder).resolve()  # commands run in folders of their own
    if not (path / "stages").is_dir():
        raise argparse.ArgumentTypeError(f"{folder}: no checkout of this project, it has no stages")
    return path


def main() -> None:
    """Measures the sections and writes table and JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--archive", type=Path, required=True, help="recordings of the eight words, as zip or tar")
    options.add_argument("--section", choices=SECTIONS, help="only this section")
    options.add_argument("--clips", type=int, default=2000, help="clips in the comparisons")
    options.add_argument("--before", type=_checkout, help="an older checkout of this project, timed beside this one")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--growth", type=int, nargs="+", default=[1000, 10_000, 100_000], help="clips of the curves")
    asked = options.parse_args()
    if not asked.archive.is_file():
        sys.exit(f"error: {asked.archive}: no such archive; make bench ARCHIVE=... names one with the eight words")
    wanted = (one for one in read_members(asked.archive) if Path(one[0]).parent.name in WORDS)
    recordings = [(name, data) for name, data in itertools.islice(wanted, max(asked.clips, 8000)) if data]
    recordings.sort(key=lambda one: Path(one[0]).name)  # all words among the first ones
    path = ROOT / "benchmarks" / "speed.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"ratios": {}, "sections": {}}
    packages = result.get("packages", {})  # a peer may stand in another environment
    result |= machine()
    result["packages"] = packages | result["packages"]
    if asked.before:
        revision = ["git", "-C", asked.before, "rev-parse", "--short", "HEAD"]
        result["before"] = subprocess.check_output(revision, text=True).strip()  # noqa: S603 (git)
    for section, measure in SECTIONS.items():
        if asked.section in (None, section):
            print(section, flush=True)
            with tempfile.TemporaryDirectory() as scratch:
                ratios = measure(recordings, asked, Path(scratch))
            result["ratios"] |= {name: round(value, 3) for name, value in ratios.items()}
            sizes = asked.growth if section == "growth" else asked.clips
            result["sections"] |= {section: {"clips": sizes, "repeats": asked.repeats}}
            write_json(path, result)
    lines = [
        f"{result['processor']}, Python {result['python']}, "
        + ", ".join(" ".join(p) for p in result["packages"].items())
    ]
    lines += [
        "",
        "| what | ratio |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in result["ratios"].items()),
    ]
    with written_whole(ROOT / "benchmarks" / "speed.md") as partial:
        partial.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
