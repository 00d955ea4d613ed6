"""DVC's cache: two clones at once on one, and bits that flip in it."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from checkout import PIPELINE, Project

from torture.faults import Kind, Outcome, Scene, clear_line, judge
from torture.kills import draw_moment
from torture.processes import Running
from torture.workspaces import STAGES, Base, remove_outputs

CACHED = STAGES[1:]  # watch keeps nothing in the cache
READERS = {"download": "featurize", "featurize": "train", "train": "evaluate"}  # a stage that reads all that one makes
UNTRACKED = {"KWS_TRACKING": "off"}
REPRO, CHECKOUT, VERIFY, A_STAGE = (
    "dvc repro",
    "dvc checkout, dvc repro",
    "make verify",
    "dvc checkout, a stage that reads it",
)
WAYS = (REPRO, CHECKOUT, VERIFY, A_STAGE)


@contextmanager
def clones_ready(_: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """Nothing is needed."""
    yield clones


def clones(scene: Scene) -> Outcome:
    """Two clones with one cache run the stage at once. Every second time one of them is killed."""
    pair = [scene.workspace(), scene.workspace()]
    cache = scene.folder / "cache"
    (pair[0].root / ".dvc/cache").rename(cache)
    shutil.rmtree(pair[1].root / ".dvc/cache")
    for project in pair:
        project.environment |= UNTRACKED
        (project.root / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n")
    moment = draw_moment(scene.draw, scene.base.measured[scene.stage], 0) if scene.number % 2 else None
    command = ("dvc", "repro", "--single-item", scene.stage)
    with Running(pair[0], *command, moment=moment) as first, Running(pair[1], *command) as second:
        killed = bool(moment) and first.reaches() and first.kill_all()
        ends = [second.end()] if killed else [first.end(), second.end()]
    what = f"two clones at once, one killed {moment}" if killed else "two clones at once"
    for code, printed in ends:
        if code or "Traceback" in printed:
            return Outcome(what, "unexplained", f"exit code {code}: {clear_line(printed) or printed[-2000:]}")
    outcomes = [judge(scene, project, what, cache=cache) for project in pair]
    return max(outcomes, key=lambda outcome: ("undisturbed", "one line", "unexplained").index(outcome.ended))


@contextmanager
def flips_ready(_: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """Nothing is needed."""
    yield flip


def flip(scene: Scene) -> Outcome:
    """Flips a bit of a file in the cache: found before DVC takes the file, after it, by a stage, or on request."""
    stage = scene.stage
    project = scene.base.copy(scene.folder / "project")
    project.environment |= UNTRACKED
    way = WAYS[scene.number % (len(WAYS) if stage in READERS else 3)]
    places = objects(project, stage)
    if way == A_STAGE:  # what it reads
        read = PIPELINE["stages"][READERS[stage]]["deps"]
        read = set(read) - {*in_git(stage)}  # what git has, DVC does not take from its cache then
        places = [place for output, place in places if output in read and place.suffix != ".dir"]
    elif way in (REPRO, VERIFY):
        places = [place for _, place in places]
    else:  # what git has, DVC does not take from its cache then
        places = [place for output, place in places if output not in in_git(stage)]
    place = scene.draw.choice(sorted(set(places)))
    bit = flip_bit(place, scene.draw.random())
    what = f"bit {bit} of {place.parent.name}{place.name} flipped; {way}"
    if way == VERIFY:
        code, printed = project.try_to("python", "-m", "kws.commands.verify", PYTHONPATH="src")
        told = [line for line in printed.splitlines() if ", 1 of them damaged" in line]
    else:
        remove_outputs(project, stage)
        if way != REPRO:
            project.run("git", "checkout", "--", *in_git(stage))
            project.try_to("dvc", "checkout")  # it fails where the flipped bit is in a list of files
        only = ["--single-item", "--force", READERS[stage]] if way == A_STAGE else []
        code, printed = project.try_to("dvc", "repro", *only)
        told = [line for line in printed.splitlines() if "damaged copy, now in" in line]
    if len(told) != 1 or "Traceback" in printed or (code and not clear_line(printed)):
        return Outcome(what, "unexplained", f"exit code {code}, told: {told}: {printed[-2000:]}")
    return judge(scene, project, what, said=told[0])


def in_git(stage: str) -> list[str]:
    """The outputs of a stage that are in git."""
    listed = PIPELINE["stages"][stage]
    found = [output for kind in ("outs", "metrics", "plots") for output in listed.get(kind, ())]
    names = [
        next(iter(output)) for output in found if isinstance(output, dict) and "cache" in next(iter(output.values()))
    ]
    return [name for name in names if name != "data/tracked.json"]


def objects(project: Project, stage: str) -> list[tuple[str, Path]]:
    """The files in DVC's cache that hold the outputs of a stage, and lists of such files, each with its output."""
    found = []
    for output in yaml.safe_load(project.lock())["stages"][stage]["outs"]:
        place = project.root / ".dvc/cache/files/md5" / output["md5"][:2] / output["md5"][2:]
        if not place.exists():  # it is in git
            continue
        listed = json.loads(place.read_bytes()) if place.suffix == ".dir" else []
        names = [entry["md5"] for entry in listed]
        found += [(output["path"], one) for one in (place, *(place.parent.parent / x[:2] / x[2:] for x in names))]
    return found


def flip_bit(path: Path, where: float) -> int:
    """Flips the bit at a share of a file, and returns its number. Size, time and mode stay, as when a disk does it."""
    content, state = bytearray(path.read_bytes()), path.stat()
    bit = int(where * 8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.unlink()  # it may be a hard link of the undisturbed one
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    path.chmod(state.st_mode)
    return bit


KINDS = [
    Kind("two clones on one cache", lambda tries: dict.fromkeys(CACHED, 2 * -(-tries // 20)), clones_ready),
    Kind("flipped bit in the cache", lambda tries: dict.fromkeys(CACHED, -(-tries // 5)), flips_ready),
]
