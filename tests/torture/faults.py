"""What a fault is, and how its end is judged: beside an undisturbed run."""

import filecmp
import hashlib
import random
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from checkout import LATENCIES, Project

from torture.workspaces import AT_END, STAGES, Base

Ended = Literal["undisturbed", "one line", "unexplained"]
Record = dict[str, float | str]  # what MLflow has of a run
LOCK_IS_HALF = re.compile(r"dvc\.lock' (validation failed|is invalid)|Unable to read RWLock-file")


@dataclass(frozen=True)
class Outcome:
    """How a fault ended.

    Attributes:
        moment: when it came, and what it was.
        ended: `undisturbed`: a plain `dvc repro` gave what an undisturbed run gives; `one line`: it was refused in one
            line, and nothing is lost; `unexplained`: anything else.
        said: the line, or what is unexplained.
    """

    moment: str
    ended: Ended
    said: str = ""


@dataclass(frozen=True)
class Scene:
    """What a fault has to work with.

    Attributes:
        base: the undisturbed run.
        stage: that the fault strikes.
        number: of the fault among those of its kind and stage, from 0 on.
        of: so many.
        folder: of this fault alone.
        draw: draws all that is random in it.
    """

    base: Base
    stage: str
    number: int
    of: int
    folder: Path
    draw: random.Random
    _made: list[Path] = field(default_factory=list)

    def workspace(self, *forgotten: str, linked: bool = True) -> Project:
        """A copy of the undisturbed project in which these stages (if none are given, that of the fault) are to run."""
        self._made.append(self.folder / f"project{len(self._made) + 1}")
        return self.base.copy(self._made[-1], *(forgotten or [self.stage]), linked=linked)


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: of the kind.
        tries: how many faults of it each stage gets, if every stage were to get the given number of kills.
        ready: prepares what all faults of the kind need, and yields what inflicts one of them. It raises `Skipped`
            where this machine cannot do that.
        alone: whether one fault after the other is inflicted.
    """

    name: str
    tries: Callable[[int], dict[str, int]]
    ready: Callable[[Base], AbstractContextManager[Callable[[Scene], Outcome]]]
    alone: bool = False


class Skipped(Exception):  # noqa: N818 (it is no error)
    """This kind cannot be tried here; the text is the reason."""


def judge(  # noqa: PLR0913 (each is optional)
    scene: Scene,
    project: Project,
    moment: str,
    *,
    said: str = "",
    store: str | None = None,
    cache: Path | None = None,
    again: Sequence[str] = ("dvc", "repro"),
) -> Outcome:
    """Types `dvc repro` again, and compares with the undisturbed run.

    Args:
        scene: of the fault.
        project: after the fault.
        moment: of the fault.
        said: what the fault said.
        store: the stage before which MLflow's store must be as it was then; none: it does not count.
        cache: DVC's; none: that of the project.
        again: what is typed.
    """
    code, printed = project.try_to(*again)
    ended: Ended = "undisturbed"
    if code:
        said = clear_line(printed)
        if not (said and LOCK_IS_HALF.search(printed)):
            return Outcome(moment, "unexplained", f"again: {said or printed[-2000:]}")
        said = project.run("python", "-m", "kws.commands.mend_lock", PYTHONPATH="src").strip()  # as `make` does it
        project.run(*again)
        ended = "one line"
    problems = [*differences(scene.base, project, cache), *(lost_records(scene.base, project, store) if store else [])]
    return Outcome(moment, "unexplained", "; ".join(problems)) if problems else Outcome(moment, ended, said)


def after(stage: str) -> str:
    """Where MLflow's store is kept that was there after a stage."""
    return (*STAGES, AT_END)[STAGES.index(stage) + 1]


def clear_line(printed: str) -> str:
    """The one line in which an error is told; empty if there is none, several, or a traceback."""
    if "Traceback" in printed:
        return ""
    lines = printed.splitlines()
    ours = [line for line in lines if line.startswith("error: ")]
    theirs = [line for line in lines if line.startswith("ERROR: ") and "failed to reproduce" not in line]
    found = ours or theirs
    return found[0] if len(found) == 1 else ""


def warnings(printed: str) -> list[str]:
    """The warnings of stages."""
    return [line for line in printed.splitlines() if line.startswith("warning: ")]


def differences(base: Base, project: Project, cache: Path | None = None) -> Iterator[str]:
    """What is not as in the undisturbed project: files, DVC's cache, leftovers."""
    if project.lock() != base.project.lock():
        yield "dvc.lock differs"
    yield from (f"git: {line}" for line in project.changed())
    left = (path.relative_to(project.root) for path in project.leftovers())
    # Work that a stage may take up again stays, where a clone with the same cache has done it meanwhile
    yield from (f"left: {path}" for path in left if not (cache and path.parts[0] == ".scratch"))
    for stage in yaml.safe_load(base.project.lock())["stages"].values():
        for output in stage["outs"]:
            top = base.project.root / output["path"]
            for path in [top, *top.rglob("*")]:
                there = project.root / path.relative_to(base.project.root)
                if path.is_file() and not (there.is_file() and filecmp.cmp(path, there, shallow=False)):
                    yield f"{path.relative_to(base.project.root)} differs"
            for path in (project.root / output["path"]).rglob("*"):
                name = path.relative_to(project.root)
                if path.is_file() and not (base.project.root / name).exists():
                    yield f"{name} should not be there"
    yield from cache_problems(base.project.root / ".dvc/cache", cache or project.root / ".dvc/cache")


def cache_problems(before: Path, cache: Path) -> Iterator[str]:
    """What is missing in DVC's cache, wrong, or half-written."""
    half = re.compile(r"\.[\w-]{22}\.tmp")  # DVC was killed while it wrote it; `make clean-runs` removes it
    files = {p.relative_to(cache / "files/md5") for p in cache.glob("files/md5/*/*") if not half.fullmatch(p.name)}
    for path in sorted(path.relative_to(before / "files/md5") for path in before.glob("files/md5/*/*")):
        if path not in files:
            yield f"cache: {path} is missing"
    for path in sorted(files):
        with (cache / "files/md5" / path).open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        if digest != path.as_posix().replace("/", "").removesuffix(".dir"):
            yield f"cache: {path} is not what its name says"


def lost_records(base: Base, project: Project, store: str) -> Iterator[str]:
    """What MLflow lacks, beside the undisturbed run."""
    yield from compare_runs(runs(base.stores / store), runs(project.root))


def compare_runs(undisturbed: Sequence[Record], found: Sequence[Record]) -> Iterator[str]:
    """How finished runs in MLflow differ from those of the undisturbed run."""
    if len(found) != len(undisturbed):
        yield f"MLflow has {len(found)} finished runs, undisturbed {len(undisturbed)}"
    for there, before in zip(found, undisturbed, strict=False):
        for name in sorted((before.keys() | there.keys()) - LATENCIES):
            if before.get(name) != there.get(name):
                yield f"MLflow: {name} is {there.get(name)}, undisturbed {before.get(name)}"


def runs(folder: Path) -> list[Record]:
    """Of all finished runs in a store: figures, counts of epochs, points and models, SHA-256 of artifacts."""
    if not (folder / "mlflow.db").exists():
        return []
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        query = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' AND status = 'FINISHED' ORDER BY start_time"
        found = []
        for (run,) in store.execute(query).fetchall():
            figures = dict(store.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", [run]).fetchall())
            curve = "SELECT COUNT(DISTINCT step), COUNT(*) FROM metrics WHERE run_uuid = ? AND key = 'train_loss'"
            epochs, points = store.execute(curve, [run]).fetchone()
            [(versions,)] = store.execute("SELECT COUNT(*) FROM model_versions WHERE run_id = ?", [run]).fetchall()
            counts = {"epochs": epochs, "points": points, "versions": versions}
            found.append(figures | counts | _artifacts(folder, run))
    return found


def _artifacts(folder: Path, run: str) -> Record:
    """The SHA-256 of each artifact of a run, in a project's own store or in that of a server."""
    tops = [*folder.glob(f"mlartifacts/{run}/artifacts"), *folder.glob(f"artifacts/*/{run}/artifacts")]
    files = [(top, path) for top in tops for path in top.rglob("*") if path.is_file()]
    return {path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for top, path in files}


def unfinished_runs(folder: Path) -> int:
    """How many runs in a store have not come to their end."""
    if not (folder / "mlflow.db").exists():
        return 0
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        query = "SELECT COUNT(*) FROM runs WHERE lifecycle_stage = 'active' AND status != 'FINISHED'"
        [(number,)] = store.execute(query).fetchall()
    return int(number)
