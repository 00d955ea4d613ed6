"""A copy of the project, in which a worker runs its trials: the workspace stays as it is, also after a kill."""

import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kws.core import paths
from kws.core.address import public_address
from kws.core.errors import UserError
from kws.core.files import folder_written_whole, read_csv, read_json, remove_folder
from kws.core.params import Params, load_params, read_yaml
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec
from kws.sweep import guard
from kws.sweep.space import PIPELINE

POLL = 5.0  # s: how often a worker looks at the curve of its training, and says that it is alive
PATIENCE = 60.0  # s: what a training that is stopped has to end by itself; then it is killed
TRAINED = ("download", "featurize", "train")  # the stages of a trial


@dataclass(frozen=True)
class ProjectCopy:
    """A git clone of the project with a workspace of its own, and the project's cache of DVC.

    Attributes:
        root: of the project. MLflow's store, unfinished trainings and recordings of one's own are there.
        folder: of the copy.
        commit: at which the trials begin.
        remote: the git remote to which experiments are pushed; empty: they stay on this machine.
    """

    root: Path
    folder: Path
    commit: str
    remote: str

    @property
    def log(self) -> Path:
        """What the newest trial printed."""
        return self.folder.with_suffix(".log")

    @property
    def curve(self) -> Path:
        """The epochs of the newest trial, a line of JSON each."""
        return self.folder.with_suffix(".curve")

    def prepare(self, overrides: Sequence[str]) -> None:
        """Goes back to the commit, and sets the parameters of a trial."""
        git(self.folder, "reset", "--quiet", "--hard", self.commit)
        self.curve.unlink(missing_ok=True)
        set_params(self.folder / paths.PARAMS, overrides)

    def params(self) -> Params:
        """All parameters of the trial.

        Raises:
            UserError: they do not fit together.
        """
        return load_params(self.folder / paths.PARAMS)

    def train(self, experiment: str, follow: Callable[[list[dict[str, float]]], None]) -> int:
        """Runs the pipeline as far as stage train, and returns the exit code.

        Args:
            experiment: its name, for MLflow.
            follow: called every few seconds with the epochs so far. Whatever it raises stops the training.
        """
        environment = os.environ | {
            "DVC_ROOT": str(self.root),  # as in a queued experiment: see kws.core.paths
            "DVC_EXP_NAME": experiment,
            "DVC_EXP_BASELINE_REV": self.commit,
            "KWS_CURVE": str(self.curve),
            "PYTHONPATH": "src",
        }
        words = ["dvc", "repro", *(["--pull"] if self.remote else []), "train"]
        with (
            self.log.open("w", encoding="utf-8") as log,
            subprocess.Popen(  # noqa: S603 (ours)
                [sys.executable, guard.__file__, *words],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                while True:
                    try:
                        return process.wait(POLL)
                    except subprocess.TimeoutExpired:
                        follow(self.epochs())
            except BaseException:
                _stop(process)
                raise

    def epochs(self) -> list[dict[str, float]]:
        """The rows of the training curve that are written whole."""
        if not self.curve.exists():
            return []
        *lines, _ = self.curve.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines]

    def result(self) -> tuple[dict[str, float], list[dict[str, float]], dict[str, Any]]:
        """Of a whole training: the figures of the epoch that was kept, all epochs, and on which data it was."""
        figures = read_json(self.folder / paths.METRICS / "train.json")
        history = [{name: float(value) for name, value in row.items()} for row in read_csv(self.folder / paths.HISTORY)]
        source = DataSource.read(self.folder / paths.SOURCE)
        clips = FeatureSpec.read(self.folder / paths.SPEC).clips
        data = {
            "dataset": public_address(source.dataset),
            "sha256": source.sha256,
            "synthetic": source.synthetic,
            "train": clips["train"],
            "validation": clips["validation"],
        }
        return figures, history, data

    def save(self, experiment: str, beat: Callable[[], None]) -> None:
        """Makes the workspace of the copy an experiment of the project, in place of one with the same name.

        An experiment is a commit under a name that git branches do not show. `dvc exp save` would also put a file with
        folders of this machine into it. What stages write that did not run is left out: it is of another network.

        Args:
            experiment: its name.
            beat: called every few seconds: to push data may take long.

        Raises:
            UserError: the experiment cannot be pushed to the remote.
        """
        for path in _outputs_in_git(self.folder / PIPELINE, without=("watch", *TRAINED)):
            (self.folder / path).unlink(missing_ok=True)
        git(self.folder, "add", "--all")
        tree = git(self.folder, "write-tree")
        saved = git(self.folder, "commit-tree", tree, "-p", self.commit, "-m", f"make sweep: {experiment}")
        ref = f"refs/exps/{self.commit[:2]}/{self.commit[2:]}/{experiment}"
        git(self.folder, "update-ref", ref, saved)
        git(self.root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(self.folder), f"+{ref}:{ref}")
        if self.remote:
            self._push(experiment, beat)

    def forget_training(self, epochs: Sequence[dict[str, float]]) -> None:
        """Removes what a stopped training left to be resumed, given its epochs: nobody will resume it."""
        for path in paths.scratch("training").glob("*/[0-9]*/history.json"):
            try:
                history = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:  # the training of another worker, which has just ended its next epoch
                continue
            if epochs[-1] in history:
                remove_folder(path.parent.parent)

    def failure(self) -> str:
        """Why the newest trial failed."""
        return _reason(self.log.read_text(encoding="utf-8", errors="replace"))

    def _push(self, experiment: str, beat: Callable[[], None]) -> None:
        words = ["dvc", "exp", "push", "--force", "--run-cache", "origin", experiment]
        with subprocess.Popen(  # noqa: S603 (ours)
            words, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                while True:
                    try:
                        printed, _ = process.communicate(timeout=POLL)
                        break
                    except subprocess.TimeoutExpired:
                        beat()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise UserError(f"{' '.join(words)}: {_reason(printed)}")


@contextmanager
def project_copy(root: Path, commit: str, remote: str) -> Iterator[ProjectCopy]:
    """Yields a copy of the project at a commit, and removes it in the end. A killed worker's is taken over.

    Raises:
        UserError: the project has no such commit, or no such remote.
    """
    folder, lock = _free_place(paths.scratch("sweeps"))
    try:
        if folder.exists():
            remove_folder(folder)
        with folder_written_whole(folder) as partial:
            git(root, "clone", "--quiet", "--shared", "--no-checkout", str(root), str(partial))
            git(partial, "checkout", "--quiet", "--detach", commit)
            for name in ("user.name", "user.email"):
                if value := git(root, "config", "--default", "", name):
                    git(partial, "config", name, value)
            if remote:
                address = git(root, "remote", "get-url", remote)
                here = root / address  # a folder may be given from the project's root
                git(partial, "remote", "set-url", "origin", str(here.resolve()) if here.exists() else address)
            local = root / ".dvc" / "config.local"
            if local.exists():
                shutil.copy(local, partial / ".dvc")
            _share_data(root, partial)
        yield ProjectCopy(root, folder, commit, remote)
    finally:
        folder.with_suffix(".curve").unlink(missing_ok=True)
        if folder.exists():
            remove_folder(folder)
        lock.release()


def set_params(path: Path, overrides: Sequence[str]) -> None:
    """Sets parameters in a params.yaml, as `dvc exp run -S` does: comments stay."""
    from dvc.utils.hydra import apply_overrides

    apply_overrides(path, list(overrides))


def git(folder: Path, *words: str) -> str:
    """What a command of git prints.

    Raises:
        UserError: it failed, with its last line.
    """
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"git {' '.join(words)}: {lines[-1]}")
    return done.stdout.strip()


def cpu_seconds() -> float:
    """The CPU time of all commands that this process has waited for, and of what they started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _reason(printed: str) -> str:
    """The line that says why a command failed: the last one of a stage's errors, of DVC's, or of all."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    for mark in ("error: ", "ERROR: ", ""):
        if marked := [line for line in lines if line.startswith(mark)]:
            return marked[-1].removeprefix(mark)
    return "it printed nothing"


def _free_place(folder: Path) -> tuple[Path, FileLock]:
    """The first folder 1, 2, … that no living worker of this machine holds, and the lock by which this one does."""
    for number in itertools.count(1):
        lock = FileLock(folder / f"{number}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        return folder / f"{number}", lock
    raise AssertionError


def _share_data(root: Path, copy: Path) -> None:
    """Has the copy use the project's cache of DVC, and its remotes, whose folders may be given from the project's."""
    from dvc.config import Config

    ours = Config(str(root / ".dvc"))
    with Config(str(copy / ".dvc")).edit("local") as local:
        local["cache"]["dir"] = ours["cache"].get("dir") or str(root / ".dvc" / "cache")
        local["remote"] = ours["remote"]


def _outputs_in_git(pipeline: Path, without: Collection[str]) -> Iterator[str]:
    """What stages write that stands in git.

    Args:
        pipeline: dvc.yaml.
        without: stages that are left out.
    """
    for name, stage in read_yaml(pipeline)["stages"].items():
        if name not in without:
            for output in (each for kind in ("outs", "metrics", "plots") for each in stage.get(kind, [])):
                if isinstance(output, dict):
                    yield from (path for path, options in output.items() if options.get("cache") is False)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends a training: as Ctrl-C does, so that MLflow's run is ended, and by force if that takes too long."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
