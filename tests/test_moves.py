"""A project with recordings of the user's own that is cloned, renamed, copied, queued, or built without them."""

import json
import os
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkout import PIPELINE, SMALL, Project, ran, run_queue

from kws.core import paths
from kws.download.contents import contents_of
from kws.recordings.clips import read_clips


def record(folder: Path, *takes: int) -> None:
    """Adds a recording of each word by two people for each take: noise, which differs from take to take."""
    for word in SMALL["words"]:
        for speaker in ("ada", "bob"):
            for take in takes:
                path = folder / word / speaker / f"{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                samples = np.random.default_rng(take).integers(-9999, 9999, 1600, np.int16)
                with wave.open(str(path), "wb") as file:
                    file.setparams((1, 2, 16000, 0, "NONE", ""))
                    file.writeframes(samples.tobytes())


@pytest.fixture
def create(tmp_path, environment) -> Callable[..., Project]:
    """Makes a project that nothing has run in yet, with the first two stages alone: tests of others take minutes."""

    def create(**params: object) -> Project:
        project = Project.create(tmp_path / "project", environment)
        stages = {stage: PIPELINE["stages"][stage] for stage in ("watch", "download")}
        (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        project.set(**params)
        project.commit()
        return project

    return create


@pytest.fixture
def own(create) -> Project:
    """A project with recordings of its own, after stage download and a commit."""
    project = create(dataset="recordings")
    record(project.root / "recordings", 1)
    assert ran(project.run("dvc", "repro")) == ["download"]
    project.commit()
    return project


def clips(project: Project) -> list[str]:
    return [clip.name for clip in read_clips(project.root / paths.CLIPS)]


def texts_in_git(project: Project) -> dict[str, str]:
    names = project.run("git", "ls-files").splitlines()
    return {name: (project.root / name).read_text() for name in names if not name.startswith(("src/", "stages/"))}


@pytest.mark.parametrize("place", ["recordings", "absolute", "archive"])
def test_a_change_in_recordings_of_ones_own_is_noticed_and_they_are_left_alone(create, tmp_path, place):
    folder = tmp_path / ("project/recordings" if place == "recordings" else "elsewhere/spoken words")
    archive = tmp_path / "words.tar"
    dataset = {"absolute": str(folder), "archive": str(archive)}.get(place, place)
    project = create(dataset=dataset)

    def pack() -> None:
        if place == "archive":
            project.run("tar", "-cf", str(archive), "-C", str(folder), *SMALL["words"])

    record(folder, 1)
    pack()
    assert ran(project.run("dvc", "repro")) == ["download"]
    assert len(clips(project)) == 4
    assert ran(project.run("dvc", "repro")) == []
    record(folder, 2)
    pack()
    before = {path: path.read_bytes() for path in [*folder.rglob("*.wav"), *tmp_path.glob("*.tar")]}
    assert ran(project.run("dvc", "repro")) == ["download"]
    assert len(clips(project)) == 8
    assert ran(project.run("dvc", "repro")) == []
    project.run("dvc", "exp", "run", "--set-param", "dataset=synthetic")
    assert ran(project.run("dvc", "exp", "run", "--set-param", f"dataset={dataset}")) == []  # DVC's cache
    assert len(clips(project)) == 8
    assert {path: path.read_bytes() for path in [*folder.rglob("*.wav"), *tmp_path.glob("*.tar")]} == before
    own = json.loads((project.root / paths.OWN).read_text())
    name = Path(dataset).name if place in ("absolute", "archive") else dataset
    assert own["dataset"]["name"] == name
    assert own["test_dataset"] is None


def test_a_change_in_a_test_data_set_of_ones_own_is_noticed(create, tmp_path):
    record(tmp_path / "theirs", 1)
    project = create(test_dataset="../theirs")
    assert ran(project.run("dvc", "repro")) == ["download"]
    assert ran(project.run("dvc", "repro")) == []
    record(tmp_path / "theirs", 2)
    assert ran(project.run("dvc", "repro")) == ["download"]
    project.set(test_dataset="nowhere")
    code, printed = project.try_to("dvc", "repro")
    assert code
    [line] = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: test_dataset: nowhere does not exist ({project.root}/nowhere): put your recordings")


def test_recordings_that_only_look_new_run_nothing(own):
    take = own.root / "recordings/yes/ada/1.wav"
    take.touch()
    (take.parent / ".DS_Store").write_text("what a file manager leaves")
    shutil.copytree(own.root / "recordings", own.root / "another")
    shutil.rmtree(own.root / "recordings")
    (own.root / "another").rename(own.root / "recordings")
    assert ran(own.run("dvc", "repro")) == []
    assert own.changed() == []


def test_git_does_not_see_recordings_and_nothing_in_it_names_a_folder_of_this_machine(own, tmp_path):
    assert [name for name in texts_in_git(own) if name.startswith("recordings")] == []
    record(tmp_path / "home/ada/words", 1)
    own.set(dataset=str(tmp_path / "home/ada/words"))
    own.run("dvc", "repro")
    assert own.changed() == [" M data/own.json", " M dvc.lock", " M params.yaml"]
    assert [name for name, text in texts_in_git(own).items() if str(tmp_path) in text] == ["dvc.lock", "params.yaml"]
    assert "    dataset: " in own.lock().decode()  # there, too, only as the value of the parameter
    assert own.lock().decode().count(str(tmp_path)) == 1
    source = json.loads((own.root / paths.SOURCE).read_text())
    assert (source["dataset"], source["address"]) == ("words", "words")


def test_a_clone_without_the_recordings_says_what_to_do_and_runs_on_others(own, tmp_path):
    clone = own.clone(tmp_path / "clone")
    code, printed = clone.try_to("dvc", "repro")
    assert code
    [line] = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert line == (
        f"error: dataset: recordings does not exist ({clone.root}/recordings): put your recordings there, or set "
        "dataset to synthetic, mini_speech_commands, speech_commands, speech_commands_test_set, "
        "a folder or an archive of your own, or an address (https:// or file://)"
    )
    assert "Traceback" not in printed
    assert clone.changed() == [" D metrics/download.json"]  # DVC removes what a stage is about to write
    clone.set()
    assert ran(clone.run("dvc", "repro")) == ["download"]
    made = json.loads((clone.root / "metrics/download.json").read_text())
    assert (made["clips"], made["synthetic"]) == (len(SMALL["words"]) * SMALL["synthetic_speakers"], 1)


def test_a_colleague_with_the_same_recordings_gets_the_same_lock(own, tmp_path):
    clone = own.clone(tmp_path / "clone")
    shutil.copytree(own.root / "recordings", clone.root / "recordings", copy_function=shutil.copyfile)  # new times
    assert ran(clone.run("dvc", "repro")) == ["download"]
    assert clone.lock() == own.lock()
    assert clone.changed() == []
    record(clone.root / "recordings", 2)
    assert ran(clone.run("dvc", "repro")) == ["download"]
    assert clone.changed() == [" M data/own.json", " M dvc.lock", " M metrics/download.json"]


def test_a_machine_without_the_recordings_goes_on_from_what_they_were_packed_into(own, tmp_path):
    own.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    own.commit()
    own.run("dvc", "push", "data/raw")
    clone = own.clone(tmp_path / "clone")
    clone.run("dvc", "pull", "data/raw")
    printed = clone.run("dvc", "repro")
    assert ran(printed) == []
    assert "recordings is not here " in printed
    assert "its 4 files" in printed
    assert clone.changed() == []
    clone.set(dataset="recordings", words=["yes", "no"])
    code, printed = clone.try_to("dvc", "repro")
    assert code
    assert "error: dataset: recordings does not exist" in printed


def test_marks_of_a_conflict_in_what_was_noted_cost_nothing(own):
    lock = own.lock()
    (own.root / paths.OWN).write_text("<<<<<<< HEAD\n{}\n")
    assert ran(own.run("dvc", "repro")) == []
    assert own.lock() == lock
    assert own.changed() == []


def test_a_renamed_project_has_nothing_to_run_and_notices_changes(own, tmp_path):
    renamed = Project(own.root.rename(tmp_path / "another name"), own.environment)
    assert ran(renamed.run("dvc", "repro")) == []
    assert renamed.changed() == []
    record(renamed.root / "recordings", 2)
    assert ran(renamed.run("dvc", "repro")) == ["download"]
    assert len(clips(renamed)) == 8


def test_a_copied_project_looks_at_its_own_recordings(own, tmp_path):
    shutil.copytree(own.root, tmp_path / "copy", symlinks=True)
    copy = Project(tmp_path / "copy", own.environment)
    record(copy.root / "recordings", 2)
    assert ran(own.run("dvc", "repro")) == []
    assert ran(copy.run("dvc", "repro")) == ["download"]
    assert (len(clips(own)), len(clips(copy))) == (4, 8)


def recorded(project: Project) -> dict[str, bytes]:
    """The content of each recording."""
    folder = project.root / "recordings"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.wav")}


def test_queued_and_temporary_experiments_find_the_recordings_of_the_project(own, tmp_path):
    before = recorded(own)

    def queued(root: Path) -> Project:
        project = own.copy(root)
        for name, variety in (("one", 0.1), ("two", 0.2)):  # a parameter that runs stage download
            change = f"synthetic_variety={variety}"
            project.run("dvc", "exp", "run", "--queue", "--name", name, "--set-param", change)
        record(project.root / "recordings", 2)  # meanwhile
        return project

    project, _, status = run_queue(queued, tmp_path)
    assert [status.count(state) for state in ("Success", "Failed", "Queued", "Running")] == [2, 0, 0, 0], status
    for name in ("one", "two"):
        assert "recordings: 8 clips, 2 words, 2 speakers" in project.run("dvc", "queue", "logs", name)
    printed = project.run("dvc", "exp", "run", "--temp", "--set-param", "synthetic_variety=0.3")
    assert "recordings: 8 clips, 2 words, 2 speakers" in printed
    assert project.changed() == []
    assert before.items() <= recorded(project).items()
    project.run("dvc", "exp", "apply", "one")
    assert ran(project.run("dvc", "repro")) == []  # also the note of what they hold came with it


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    record(tmp_path / "words", 1)
    return tmp_path / "words"


def test_contents_are_names_and_bytes(folder, tmp_path):
    before = contents_of(folder)
    assert before["files"] == 4
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert contents_of(tmp_path / "copy") == before
    (folder / "yes/ada/1.wav").rename(folder / "yes/ada/2.wav")
    assert contents_of(folder)["sha256"] != before["sha256"]
    (folder / "yes/ada/2.wav").rename(folder / "yes/ada/1.wav")
    assert contents_of(folder) == before


def test_a_file_of_the_same_size_and_time_is_noticed(folder):
    before, take = contents_of(folder), folder / "yes/ada/1.wav"
    old = take.stat()
    take.write_bytes(take.read_bytes()[:-1] + b"\x01")
    os.utime(take, ns=(old.st_atime_ns, old.st_mtime_ns))  # as `cp -p` and rsync leave it
    assert contents_of(folder)["sha256"] != before["sha256"]


def test_files_are_read_once(folder, monkeypatch):
    from kws.download import contents

    before = contents_of(folder)
    monkeypatch.setattr(contents, "sha256_of", None)  # would fail
    assert contents_of(folder) == before


def test_hidden_files_and_those_of_systems_do_not_count(folder):
    before = contents_of(folder)
    for name in (".old/yes/ada/1.wav", "yes/.git/1.wav", "__MACOSX/yes/1.wav", "yes/Thumbs.db", "Icon\r"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    assert contents_of(folder) == before


def test_pipes_and_links_that_lead_nowhere_are_no_files(folder):
    before = contents_of(folder)
    os.mkfifo(folder / "yes" / "pipe")
    (folder / "yes" / "gone.wav").symlink_to("nowhere")
    assert contents_of(folder) == before
