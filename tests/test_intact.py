"""Bits that have changed on a disk, in DVC's cache or in the workspace: found, healed or refused."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from checkout import PIPELINE, Project, ran

from kws.core import intact
from kws.core.errors import UserError

STAGES = ("watch", "download", "featurize")  # those that need no TensorFlow


def flip(path: Path, place: int = 1000) -> None:
    """Flips a bit of a file, which keeps its size, its time and its mode, as a disk does it."""
    state = path.stat()
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(state.st_mode)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.fixture(scope="module")
def made(tmp_path_factory, environment) -> Project:
    """A project after its first stages, with a commit."""
    project = Project.create(tmp_path_factory.mktemp("made") / "project", environment)
    stages = {stage: PIPELINE["stages"][stage] for stage in STAGES}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    project.run("dvc", "repro")
    project.commit()
    return project


@pytest.fixture
def project(made, tmp_path) -> Project:
    return made.copy(tmp_path / "project")


def cached(project: Project, path: str) -> Path:
    """The file in DVC's cache of an output, of a folder its list of files."""
    outs = [out for stage in yaml.safe_load(project.lock())["stages"].values() for out in stage["outs"]]
    [md5] = [out["md5"] for out in outs if out["path"] == path]
    return project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def cached_file(project: Project, path: str) -> Path:
    """The file in DVC's cache of a file in an output folder."""
    content = (project.root / path).read_bytes()
    [same] = [file for file in project.root.glob(".dvc/cache/files/md5/*/*") if file.read_bytes() == content]
    return same


def one_line(printed: str) -> str:
    assert "Traceback" not in printed
    [line] = [line for line in printed.splitlines() if line.startswith("error: ")]
    return line


def assert_as(project: Project, made: Project, *folders: str) -> None:
    assert project.lock() == made.lock()
    assert project.changed() == []
    assert project.leftovers() == []
    for folder in folders:
        for path in (made.root / folder).rglob("*"):
            if path.is_file():
                assert (project.root / path.relative_to(made.root)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("of", ["file", "list of files"])
def test_a_damaged_copy_that_dvc_is_about_to_restore_is_set_aside_and_made_anew(project, made, of):
    path = "data/features/manifest.csv"
    place = cached_file(project, path) if of == "file" else cached(project, "data/features")
    flip(place)
    project.run("rm", "-r", "data/features")
    printed = project.run("dvc", "repro")
    assert "data/features: DVC's cache had a damaged copy, now in " in printed
    assert ran(printed) == ["featurize"]
    [damaged] = (project.root / ".scratch/damaged").iterdir()
    assert damaged.name == place.parent.name + place.name
    assert_as(project, made, "data/features", ".dvc/cache/files")


def test_a_damaged_file_that_dvc_has_restored_unnoticed_is_made_anew(project, made):
    flip(cached_file(project, "data/features/manifest.csv"))
    project.run("rm", "-r", "data/features")
    project.run("dvc", "checkout")
    status = project.run("dvc", "status")
    assert "featurize" not in status  # DVC does not notice
    assert ran(project.run("dvc", "repro")) == ["featurize"]
    assert_as(project, made, "data/features", ".dvc/cache/files")


def test_a_damaged_file_of_a_cache_that_the_workspace_is_linked_to_is_made_anew(project, made):
    project.run("dvc", "config", "--local", "cache.type", "hardlink")
    project.run("dvc", "checkout", "--relink")
    place = cached_file(project, "data/features/manifest.csv")
    assert place.samefile(project.root / "data/features/manifest.csv")
    flip(place)
    assert ran(project.run("dvc", "repro")) == ["featurize"]
    assert_as(project, made, "data/features", ".dvc/cache/files")


def test_a_stage_refuses_damaged_input_and_the_next_run_makes_it_anew(project, made):
    [archive] = (project.root / "data/raw").glob("synthetic.tar")
    place = cached_file(project, str(archive.relative_to(project.root)))
    flip(place)
    project.run("rm", "-r", "data/raw")
    project.run("dvc", "checkout", "data/raw")
    code, printed = project.try_to("dvc", "repro", "--single-item", "--force", "featurize")
    assert code
    line = one_line(printed)
    assert re.match(
        r"error: data/raw is not what stage download wrote: its MD5 is not the one in dvc.lock \(DVC's cache had a "
        rf"damaged copy, now in \S+/.scratch/damaged/{place.parent.name}{place.name}\); type dvc repro, which makes ",
        line,
    )
    assert ran(project.run("dvc", "repro")) == ["download"]  # the features are in the cache, and damaged by nothing
    assert_as(project, made, "data", ".dvc/cache/files")


def test_make_verify_replaces_what_the_workspace_has_and_names_the_rest(project, made):
    places = [cached_file(project, "data/features/manifest.csv"), cached(project, "data/features")]
    for place in places:
        flip(place)
    code, printed = project.try_to("python", "-m", "kws.commands.verify", PYTHONPATH="src")
    assert code == 1
    first, second, third = printed.splitlines()
    assert re.match(r"\d+ files in DVC's cache, 2 of them damaged", first)
    assert second.startswith(f"replaced from the workspace: {places[0].parent.name}{places[0].name}; ")
    assert third.startswith("error: now in ")
    assert f": {places[1].parent.name}{places[1].name}; dvc pull, or dvc repro " in third
    project.run("dvc", "repro")
    assert_as(project, made, "data", ".dvc/cache/files")
    printed = project.run("python", "-m", "kws.commands.verify", PYTHONPATH="src")
    assert printed.endswith(", 0 of them damaged\n")


def test_make_verify_takes_nothing_from_a_workspace_that_is_linked_to_the_damaged_file(project, made):
    project.run("dvc", "config", "--local", "cache.type", "hardlink")
    project.run("dvc", "checkout", "--relink")
    project.run("python", "-m", "kws.commands.verify", PYTHONPATH="src")
    name = "data/features/manifest.csv"
    place = cached_file(project, name)
    flip(place)
    noted, state = json.loads((project.root / intact.READ).read_text()), place.stat()
    noted[name][:3] = [state.st_ino, state.st_ctime_ns, state.st_size]  # which no disk changes with a bit
    (project.root / intact.READ).write_text(json.dumps(noted))
    code, printed = project.try_to("python", "-m", "kws.commands.verify", PYTHONPATH="src")
    assert code == 1
    assert f": {place.parent.name}{place.name}; dvc pull, or dvc repro " in one_line(printed)
    assert not place.exists()
    assert ran(project.run("dvc", "repro")) == ["featurize"]
    assert_as(project, made, "data/features", ".dvc/cache/files")


def test_make_pull_refuses_what_the_remote_has_by_half(project, tmp_path):
    project.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "store"))
    project.commit()
    project.run("dvc", "push")
    place = cached_file(project, "data/features/manifest.csv")
    half = tmp_path / "store/files/md5" / place.parent.name / place.name
    content = half.read_bytes()
    half.unlink()
    half.write_bytes(content[: len(content) // 2])
    half.chmod(0o444)  # DVC does not read what nobody may write to
    clone = project.clone(tmp_path / "clone")
    code, printed = clone.try_to("python", "-m", "kws.commands.pull", PYTHONPATH="src")
    assert code == 1
    line = one_line(printed)
    assert line.startswith('error: the remote has damaged files (docs/remotes.md, "A full disk"): data/features: ')
    assert f"/.scratch/damaged/{place.parent.name}{place.name}; " in line
    assert "MLflow" not in printed


def test_a_file_is_read_once_and_again_when_it_has_changed(project, monkeypatch):
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("DVC_ROOT", str(project.root))
    intact.mend()
    read = []
    monkeypatch.setattr(intact, "md5_of", lambda path: read.append(path) or "other")
    intact.require_intact("featurize")
    assert read == []
    Path("data/raw/clips.csv").touch()
    with pytest.raises(UserError, match=r"^data/raw is not what stage download wrote"):
        intact.require_intact("featurize")
    assert Path("data/raw/clips.csv") in read


def test_outputs_that_are_changed_by_hand_are_made_anew_without_a_word(project, made):
    (project.root / "metrics/featurize.json").write_text("{}")
    printed = project.run("dvc", "repro")
    assert ran(printed) == []  # DVC restores it from the cache of runs
    assert "damaged" not in printed
    assert_as(project, made, "data")
