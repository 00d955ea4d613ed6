"""A sweep by two workers on two machines, as far as one machine can show it, of which one is killed.

    python benchmarks/sweep.py                     # 20 trials
    python benchmarks/sweep.py --quick --trials 3  # the smallest network on hardly any data

Each worker has a clone of its own with a cache of its own. They share a PostgreSQL, which is started here, a git remote
and a DVC remote. The second worker is killed (SIGKILL) in the middle of a training, and started again. Then a third
clone pulls all experiments. Writes benchmarks/sweep.json: what was lost or doubled, and the cost. The page of the study
goes into a folder, if one is given.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import postgres  # noqa: E402
from checkout import TRACKED  # noqa: E402

from kws.core.files import read_csv, write_json  # noqa: E402
from kws.core.params import read_yaml  # noqa: E402

RESULT = Path(__file__).with_suffix(".json")
STUDY = "two_machines"
WAIT = 4 * 3600  # s: after that a worker is taken to hang
PARAMS = {"patience": 20}
SPACE: dict[str, Any] = {
    "preset": "small",
    "set": {"epochs": 12},
    "search": {
        "learning_rate": {"low": 0.0003, "high": 0.03, "log": True},
        "width": [0.25, 0.5, 1.0],
        "batch_size": [16, 32, 64],
        "label_smoothing": {"low": 0.0, "high": 0.2},
    },
}
QUICK = {"words": ["no", "yes"], "synthetic_speakers": 20}
QUICK_SPACE = {
    "set": {"epochs": 6, "width": 0.25},
    "search": {"learning_rate": {"low": 0.001, "high": 0.02, "log": True}, "batch_size": [8, 16]},
}


def main() -> None:
    """Runs the sweep in a scratch folder."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=20)
    options.add_argument("--quick", action="store_true", help="the smallest network on hardly any data")
    options.add_argument("--page", type=Path, help="folder for table, pictures and preset of the study")
    asked = options.parse_args()
    if reason := postgres.missing():
        sys.exit(f"error: {reason}")
    with tempfile.TemporaryDirectory() as scratch, postgres.server() as storage:
        folder = Path(scratch)
        first, second = make_machines(folder, quick=asked.quick)
        started = time.monotonic()
        other = Worker(first, storage, asked.trials)
        victim = Worker(second, storage, asked.trials)
        victim.kill_in_the_middle()
        again = Worker(second, storage, asked.trials)
        for worker in (other, again):
            worker.wait()
        seconds = time.monotonic() - started
        result = {"quick": asked.quick, "trials": asked.trials, **checked(first, folder / "third")}
        write_json(RESULT, result | {"seconds": round(seconds)})
        print((first / "plots" / "sweep" / STUDY / "report.txt").read_text(encoding="utf-8"))
        print(json.dumps(result, indent=2))
        if asked.page:
            shutil.copytree(first / "plots" / "sweep" / STUDY, asked.page, dirs_exist_ok=True)
            shutil.copy(first / "presets" / "found" / f"{STUDY}.yaml", asked.page)


def make_machines(folder: Path, *, quick: bool) -> list[Path]:
    """Two clones of the project as it is here, which share a git remote and a DVC remote."""
    project, remote = folder / "project", folder / "remote.git"
    for name in TRACKED:
        target = project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    params = project / "params.yaml"
    params.write_text(run(ROOT, "git", "show", "HEAD:params.yaml"))
    params.write_text(yaml.safe_dump(read_yaml(params) | PARAMS | (QUICK if quick else {})))
    (project / "presets" / "sweeps").mkdir(parents=True)
    (project / "presets" / "small.yaml").write_text("model: cnn\n")
    space = SPACE | (QUICK_SPACE if quick else {})
    (project / "presets" / "sweeps" / f"{STUDY}.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    run(project, "git", "init", "--quiet", "--initial-branch=main")
    run(project, "dvc", "remote", "add", "--default", "team", str(folder / "dvc"))
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "all")
    run(folder, "git", "clone", "--quiet", "--bare", str(project), str(remote))
    machines = [folder / name for name in ("first", "second")]
    for machine in machines:
        run(folder, "git", "clone", "--quiet", str(remote), str(machine))
    return machines


class Worker:
    """A worker on one of the machines."""

    def __init__(self, machine: Path, storage: str, trials: int) -> None:
        self._machine = machine
        space = f"presets/sweeps/{STUDY}.yaml"
        words = [sys.executable, "-m", "kws.commands.sweep", space, str(trials), "", storage, "origin", ""]
        self._process = subprocess.Popen(words, cwd=machine, env=environment())  # noqa: S603 (ours)

    def kill_in_the_middle(self) -> None:
        """Kills it when its training has an epoch behind it."""
        curve = self._machine / ".scratch" / "sweeps" / "1.curve"
        end = time.monotonic() + WAIT
        while not (curve.exists() and curve.read_text()):
            if self._process.poll() is not None or time.monotonic() > end:
                sys.exit("error: the second worker did not train")
            time.sleep(0.2)
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        print("the second worker is killed")

    def wait(self) -> None:
        """Waits for its end."""
        if self._process.wait(WAIT):
            sys.exit("error: a worker failed")


def checked(machine: Path, third: Path) -> dict[str, Any]:
    """What became of the trials, by the table of a machine and by what a third one pulls.

    Args:
        machine: whose worker has written the table.
        third: folder for another clone.
    """
    rows = read_csv(machine / "plots" / "sweep" / STUDY / "study.csv")
    whole = [row for row in rows if row["state"] == "whole"]
    run(third.parent, "git", "clone", "--quiet", str(third.parent / "remote.git"), str(third))
    run(third, "dvc", "exp", "pull", "--all-commits", "origin")
    refs = run(third, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    pulled = {ref.rpartition("/")[2]: ref for ref in refs}
    agree = 0
    for row in whole:
        ref = pulled.get(row["experiment"])
        if ref:
            figures = json.loads(run(third, "git", "show", f"{ref}:metrics/train.json"))
            agree += round(figures["validation_accuracy"], 6) == float(row["validation_accuracy"])
    best = max(whole, key=lambda row: float(row["validation_accuracy"]))["experiment"]
    run(third, "dvc", "get", ".", "models/kws.keras", "--rev", best, "--out", "best.keras")
    states = {
        state: sum(row["state"] == state for row in rows)
        for state in ("whole", "stopped", "failed", "killed", "running", "waiting")
    }
    return {
        **states,
        "killed_runs": sum(int(row["killed_runs"]) for row in rows),
        "run_again": sum(int(row["runs"]) > 1 for row in rows),
        "cpu_hours": round(sum(float(row["cpu_seconds"]) for row in rows) / 3600, 3),
        "experiments_pulled": len(refs),
        "experiments_doubled": len(refs) - len(pulled),
        "experiments_lost": len({row["experiment"] for row in whole} - set(pulled)),
        "experiments_that_agree_with_the_table": agree,
        "model_of_the_best_pulled": (third / "best.keras").exists(),
    }


def environment() -> dict[str, str]:
    """That of every command: somebody's name for git, the code of the clone."""
    people = {f"GIT_{who}_{what}": "me@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    without = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "KWS_CURVE"))}
    return without | people | {"PYTHONPATH": "src"}


def run(folder: Path, *words: str) -> str:
    """What a command prints."""
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"error: {' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
