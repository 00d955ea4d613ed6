"""A short test of each kind of fault. `make torture` inflicts hundreds: docs/faults.md."""

import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from checkout import ROOT, SMALL, Project
from torture import __main__ as torture
from torture import caches, clock, kills, namespace, network, server
from torture.faults import Scene, clear_line, compare_runs, differences, runs
from torture.processes import Moment, Running
from torture.workspaces import AT_END, STAGES, Base, Measured, files, outputs

A_FEW = Measured(seconds=3.0, dvc=5, stage=5)  # each run takes longer, and changes more


@pytest.fixture
def base(finished, tmp_path) -> Base:
    project = Project(finished.root, finished.environment | caches.UNTRACKED)
    return Base(project, tmp_path / "stores", dict.fromkeys(STAGES, A_FEW))


@pytest.fixture
def scene(base, tmp_path) -> Callable[..., Scene]:
    """Makes what a fault has to work with."""

    def scene(stage: str, number: int = 0, seed: int = 1) -> Scene:
        (tmp_path / "fault").mkdir()
        return Scene(base, stage, number, 10, tmp_path / "fault", random.Random(seed))

    return scene


def test_a_copy_lacks_what_the_stage_makes_and_runs_that_stage_alone(base, tmp_path):
    copy = base.copy(tmp_path / "copy", "featurize")
    assert [path for path in outputs("featurize") if (copy.root / path).exists()] == []
    assert (copy.root / "data/raw/source.json").samefile(base.project.root / "data/raw/source.json")
    assert not (copy.root / "dvc.lock").samefile(base.project.root / "dvc.lock")
    status = copy.run("dvc", "status", "--json")
    assert '"featurize"' in status
    assert '"download"' not in status
    assert "dvc.lock differs" in list(differences(base, copy))


@pytest.mark.parametrize(
    ("seed", "moment"),
    [
        (1, "DVC and all killed 2 ms after change 3 of a file by DVC"),
        (6, "stage killed before change 3 of a file by the stage"),
    ],
)
def test_a_killed_stage_ends_as_undisturbed(scene, seed, moment):
    outcome = kills.kill(scene("featurize", seed=seed))
    assert (outcome.ended, outcome.moment) == ("undisturbed", moment), outcome


def test_a_stage_is_stopped_at_the_change_of_a_file(base, tmp_path):
    copy = base.copy(tmp_path / "copy", "featurize")
    with Running(copy, "dvc", "repro", "--single-item", "featurize", moment=Moment("stage", 2)) as running:
        assert running.reaches()
        assert running.stage("featurize").status() == "stopped"
        running.kill_all()
        assert running.outlived() == []
        code, _ = running.end()
    assert code == -9
    assert not (copy.root / "data/features").exists()


def test_a_killed_voice_ends_in_one_line_and_then_as_undisturbed(scene):
    outcome = kills.kill_worker(scene("download"))
    assert outcome.ended == "undisturbed", outcome
    assert outcome.moment.startswith("a voice killed after ")


def test_a_killed_process_of_dask_ends_as_undisturbed(scene):
    pytest.importorskip("distributed", reason="needs Dask (extra cluster)")
    outcome = kills.kill_worker(scene("featurize"), **kills.CLUSTER)
    assert outcome.ended == "undisturbed", outcome
    assert outcome.moment.startswith("a process of Dask killed after ")


def inflict_in_a_namespace(module: str, scene: Scene) -> str:
    """Inflicts a fault in a process that may mount file systems; what became of it."""
    if not namespace.is_allowed():
        pytest.skip("no file system may be mounted here, and no network made, not even in a namespace")
    script = f"""if True:
        import pickle, sys
        from torture import {module}, namespace
        namespace.enter()
        scene = pickle.load(sys.stdin.buffer)
        with {module}.ready(scene.base) as fault:
            print(fault(scene))
    """
    words = [*namespace.COMMAND, sys.executable, "-c", script]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", namespace.INSIDE: "1"}
    environment |= {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    done = subprocess.run(words, input=pickle.dumps(scene), capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_a_full_disk_is_one_line_and_ends_as_undisturbed(scene):
    printed = inflict_in_a_namespace("disk", scene("featurize"))
    assert "ended='undisturbed'" in printed
    assert "the disk is full" in printed or "No space left on device" in printed


def test_a_training_worker_that_is_killed_ends_as_undisturbed(scene):
    printed = inflict_in_a_namespace("team", scene("train", number=1))
    assert "ended='undisturbed'" in printed
    assert "the other worker killed after " in printed


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, ""), (2, "error: the clock of this computer says ")],
)
def test_a_clock_that_is_set_back_changes_nothing(scene, base, number, said):
    if number and not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    with clock.ready(base) as fault:
        outcome = fault(scene("download", number))
    assert outcome.ended == "undisturbed", outcome
    assert outcome.said.startswith(said)


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_a_clock_is_set_while_a_program_runs(scene, base):
    code = "import time; print(time.time(), flush=True); input(); print(time.time()); time.sleep(0.1)"
    with clock.ready(base):
        set_back = clock.Clock(scene("download"))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=set_back.environment, text=True
    ) as program:
        before = float(program.stdout.readline())
        set_back.set(-86_400)
        after = float(program.communicate("\n")[0])
    assert program.returncode == 0
    assert -86_400 < after - before < -80_000


@pytest.mark.parametrize(
    ("inflict", "number", "said"),
    [(network.cut, 5, ""), (network.lie, list(network.LIES).index("a wrong byte"), "wrong checksum: SHA-256")],
)
def test_a_download_that_is_cut_or_lied_to_ends_as_undisturbed(scene, base, inflict, number, said):
    with network.ready(inflict, base) as fault:
        outcome = fault(scene("download", number))
    assert outcome.ended == "undisturbed", outcome
    assert said in outcome.said
    assert bool(outcome.said) == bool(said)


def test_a_proxy_hands_on_what_is_said_until_the_server_goes():
    with network.served() as there:
        proxy = server.Proxy(there.server_port)
        proxy.set(last=2)
        address = f"{proxy.address}/words.tar"
        assert requests.get(address, timeout=10).content == there.content
        with pytest.raises(requests.ConnectionError):
            requests.get(address, timeout=10)
        assert (proxy.asked, proxy.gone) == (2, True)
        proxy.set(last=1, way="answers HTTP 500")
        assert requests.get(address, timeout=10).status_code == 500
        proxy.set(None)
        assert requests.get(address, timeout=10).content == there.content


def test_what_a_server_that_went_has_missed_is_recorded_by_the_next_run(scene, base, finished):
    (base.stores / AT_END).mkdir(parents=True)
    shutil.copy(finished.root / "mlflow.db", base.stores / AT_END)
    shutil.copytree(finished.root / "mlartifacts", base.stores / AT_END / "mlartifacts")
    del base.project.environment["KWS_TRACKING"]
    with server.ready(base) as fault:
        outcome = fault(scene("export", seed=2))
    assert outcome.ended == "undisturbed", outcome
    assert outcome.said.startswith("warning: export goes on without MLflow: ")


def test_two_clones_may_run_at_once_on_one_cache_and_one_be_killed(scene):
    outcome = caches.clones(scene("featurize", number=1))
    assert outcome.ended == "undisturbed", outcome


def test_a_flipped_bit_is_found_and_healed(scene):
    outcome = caches.flip(scene("featurize", number=caches.WAYS.index(caches.CHECKOUT)))
    assert outcome.ended == "undisturbed", outcome
    assert "data/features: DVC's cache had a damaged copy" in outcome.said


def test_what_differs_from_the_undisturbed_run_is_found(base, tmp_path):
    copy = base.copy(tmp_path / "copy", linked=False)
    assert list(differences(base, copy)) == []
    (copy.root / "data/features/more.txt").touch()
    (copy.root / "data/answers.npz").unlink()
    stored = next((copy.root / ".dvc/cache/files/md5").glob("*/*"))
    stored.chmod(0o644)
    stored.write_bytes(b"other")
    assert list(differences(base, copy)) == [
        "data/features/more.txt should not be there",
        "data/answers.npz differs",
        f"cache: {stored.parent.name}/{stored.name} is not what its name says",
    ]


def test_what_mlflow_lacks_or_has_twice_is_found(base):
    [record] = runs(base.project.root)
    assert record["epochs"] == record["points"] == SMALL["epochs"]
    assert record["versions"] == 1
    assert list(compare_runs([record], [record | {"points": 9, "plots/train/history.csv": "other"}])) == [
        f"MLflow: plots/train/history.csv is other, undisturbed {record['plots/train/history.csv']}",
        "MLflow: points is 9, undisturbed 8",
    ]
    assert list(compare_runs([record], [])) == ["MLflow has 0 finished runs, undisturbed 1"]


def test_a_change_of_the_undisturbed_run_is_seen(base, tmp_path):
    base = replace(base, project=base.copy(tmp_path / "copy", linked=False))
    before = files(base)
    assert files(base) == before
    with (base.project.root / "data/answers.npz").open("r+b") as file:
        file.write(b"x")
    assert files(base) != before


def test_who_has_ended_is_not_struck(base):
    with Running(base.project, "true", moment=Moment("time", 600)) as running:
        assert not running.reaches()
        assert not running.kill_all()
    with Running(base.project, "sleep", "600") as running:
        assert running.kill_all()


def test_a_clear_line_is_one():
    assert (
        clear_line("Running\nerror: the disk is full\nERROR: failed to reproduce 'train'") == "error: the disk is full"
    )
    assert clear_line("ERROR: Unable to acquire lock") == "ERROR: Unable to acquire lock"
    assert clear_line("Traceback (most recent call last)\nerror: x") == ""
    assert clear_line("error: x\nerror: y") == ""
    assert clear_line("fine") == ""


def test_the_table_counts_every_end():
    rows = [
        {"fault": f"killed/{stage}/{number}", "kind": "killed", "stage": stage, "moment": "", "ended": end, "said": ""}
        for number, (stage, end) in enumerate(
            [("train", "undisturbed"), ("train", "one line"), ("train", "undisturbed"), ("export", "unexplained")]
        )
    ]
    table = torture.summary(rows)
    assert [tuple(row.values()) for row in table] == [
        ("killed", "train", "3", "2", "1", "0"),
        ("killed", "export", "1", "0", "0", "1"),
        ("all", "", "4", "2", "1", "1"),
    ]
    assert torture.shown(table).splitlines()[0].split("  ")[0] == "kind"


def test_a_fault_is_drawn_the_same_whatever_others_are_asked_for(base):
    def draws(only: str) -> dict[Path, float]:
        options = torture.argparse.Namespace(tries=4, seed=7, only=only)
        return {
            one.folder: one.draw.random() for kind in torture.KINDS for one in torture._scenes(kind, base, options, ())
        }

    every, one = draws(""), draws("killed/train/2")
    assert len(every) == len(set(every))
    assert one == {folder: every[folder] for folder in one}
    assert [folder.name for folder in one] == ["killed-train-2"]
