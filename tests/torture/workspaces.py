"""The undisturbed pipeline, and copies of it in which one stage has not run yet."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from checkout import PIPELINE, ROOT, TRACKED, Project

from torture.processes import counted

STAGES = tuple(PIPELINE["stages"])
SMALLEST = {"synthetic_speakers": 20, "epochs": 3, "patience": 3}  # beside checkout.SMALL
NEVER_IN_PLACE = (".dvc/cache/files", "data", "metrics", "models", "plots", "src", "stages")
STORE = ("mlflow.db", "mlartifacts")
AT_END = "end"  # the store after the last stage


@dataclass(frozen=True)
class Measured:
    """What an undisturbed run of a stage took.

    Attributes:
        seconds: of `dvc repro`.
        dvc: changes of files by DVC.
        stage: changes of files by the stage.
    """

    seconds: float
    dvc: int
    stage: int


@dataclass(frozen=True)
class Base:
    """A project after an undisturbed run of all stages and a commit. Nothing may change it.

    Attributes:
        project: the project.
        stores: folder with MLflow's store before each stage, and after the last one.
        measured: what each stage took.
    """

    project: Project
    stores: Path
    measured: dict[str, Measured]

    def copy(self, target: Path, *forgotten: str, linked: bool = True) -> Project:
        """A copy in which these stages have not run yet: their outputs are gone, and DVC's cache of them.

        MLflow's store is as it was before the first of them.

        Args:
            target: folder to make.
            forgotten: names of stages, in their order; the later ones are kept, and need not run again.
            linked: whether files that nobody writes into in place are hard links.
        """
        root = self.project.root
        for folder, folders, files in os.walk(root):
            inside = Path(folder).relative_to(root)
            folders[:] = [name for name in folders if inside / name not in (Path(".dvc/tmp"), Path(STORE[1]))]
            (target / inside).mkdir(parents=True)
            link = linked and any(inside.is_relative_to(name) for name in NEVER_IN_PLACE)
            for name in files:
                if name != STORE[0]:
                    _copy(Path(folder, name), target / inside / name, link=link)
        copy = Project(target, self.project.environment | {"DVC_SITE_CACHE_DIR": f"{target}.dvc"})
        self.copy_store(copy, forgotten[0] if forgotten else AT_END)
        for stage in forgotten:
            forget(copy, stage)
        return copy

    def copy_store(self, project: Project, before: str) -> None:
        """Gives a project MLflow's store as it was before a stage."""
        if (database := self.stores / before / STORE[0]).exists():
            shutil.copy(database, project.root)
            shutil.copytree(self.stores / before / STORE[1], project.root / STORE[1])  # MLflow writes in place


def _copy(source: Path, target: Path, *, link: bool) -> None:
    if link and source.stat().st_dev == target.parent.stat().st_dev:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def outputs(stage: str) -> list[Path]:
    """What a stage writes, as dvc.yaml has it."""
    listed = PIPELINE["stages"][stage]
    found = (output for kind in ("outs", "metrics", "plots") for output in listed.get(kind, ()))
    return [Path(output if isinstance(output, str) else next(iter(output))) for output in found]


def forget(project: Project, stage: str) -> None:
    """Removes what a stage has made: its outputs, DVC's copies of them, and what DVC knows of its run."""
    lock = project.lock().decode()
    cache = project.root / ".dvc/cache"
    for output in yaml.safe_load(lock)["stages"][stage]["outs"]:
        listed = cache / "files/md5" / output["md5"][:2] / output["md5"][2:]
        names = [entry["md5"] for entry in json.loads(listed.read_bytes())] if listed.suffix == ".dir" else []
        for place in (listed, *(cache / "files/md5" / name[:2] / name[2:] for name in names)):
            place.unlink(missing_ok=True)  # two outputs may be equal
    remove_outputs(project, stage)
    shutil.rmtree(cache / "runs", ignore_errors=True)
    command = f"    cmd: PYTHONPATH=src python stages/{stage}.py\n"
    assert lock.count(command) == 1
    (project.root / "dvc.lock").write_text(lock.replace(command, "    cmd: forgotten\n"))  # its place in it stays


def remove_outputs(project: Project, stage: str) -> None:
    """Removes from the workspace what a stage has made."""
    for output in outputs(stage):
        path = project.root / output
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def environment(folder: Path) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    theirs = ("COVERAGE_", "DVC_", "GIT_", "KWS_", "MAKE", "MLFLOW_", "PYTEST_", "PYTHONPATH", "TORTURE_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    people = {f"GIT_{who}_{what}": "me@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    ours |= people | {"DVC_SITE_CACHE_DIR": str(folder / "dvc"), "GIT_CONFIG_GLOBAL": os.devnull}
    return ours | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def make_base(folder: Path, say: Callable[[str], None]) -> Base:
    """The undisturbed pipeline of the present code, made anew if the code is another one than before.

    Args:
        folder: where it is kept.
        say: told what is done.
    """
    project = Project(folder / "project", environment(folder))
    base = Base(project, folder / "stores", {})
    kept, now = folder / "measured.json", code()
    if kept.exists() and (content := json.loads(kept.read_text()))["code"] == now and content["files"] == files(base):
        measured = {stage: Measured(**figures) for stage, figures in content["stages"].items()}
        return Base(project, base.stores, measured)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    Project.create(project.root, project.environment)
    project.set(**SMALLEST)
    project.commit()
    for stage in STAGES:
        say(f"undisturbed: {stage}")
        _keep_store(base, stage)
        base.measured[stage] = _measure(project, stage, folder)
    _keep_store(base, AT_END)
    project.commit()
    stages = {stage: asdict(measured) for stage, measured in base.measured.items()}
    kept.write_text(json.dumps({"code": now, "files": files(base), "stages": stages}))
    return base


def code() -> str:
    """Names all that an undisturbed run depends on."""
    digest = hashlib.sha256(repr(SMALLEST).encode())
    files = (file for name in TRACKED for file in [ROOT / name, *(ROOT / name).rglob("*")])
    for path in sorted(file for file in files if file.is_file() and "__pycache__" not in file.parts):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def files(base: Base) -> str:
    """Names the content of all files of the undisturbed run, many of which its copies share."""
    digest = hashlib.sha256()
    tmp = base.project.root / ".dvc/tmp"
    for top in (base.project.root, base.stores):
        for path in sorted(path for path in top.rglob("*") if path.is_file() and tmp not in path.parents):
            digest.update(path.relative_to(top).as_posix().encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _keep_store(base: Base, before: str) -> None:
    folder = base.stores / before
    folder.mkdir(parents=True)
    if (database := base.project.root / STORE[0]).exists():
        shutil.copy(database, folder)
        shutil.copytree(base.project.root / STORE[1], folder / STORE[1])


def _measure(project: Project, stage: str, folder: Path) -> Measured:
    words, variables = counted(project, "repro", "--single-item", stage)
    counts = folder / "counts" / stage
    counts.mkdir(parents=True)
    start = time.monotonic()
    project.run(*words, **variables, TORTURE_COUNTS=str(counts))
    seconds = time.monotonic() - start
    return Measured(seconds, **{who: int((counts / who).read_text()) for who in ("dvc", "stage")})
