"""Commands that run while they are watched, and are killed at a moment."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from checkout import WAIT, Project

STOPPING = Path(__file__).with_name("stopping.py")
GONE = ("gone", psutil.STATUS_ZOMBIE)  # a zombie has ended; whether init buries it is not ours
LONG_ENOUGH = 120  # seconds in which processes that have lost their stage must have ended


@dataclass(frozen=True)
class Moment:
    """When something happens to a run of a stage.

    Attributes:
        who: `dvc` or `stage`, at one of the changes that it makes to files; or `time`.
        at: the number of the change, or the seconds from the start.
        delay: seconds behind the change.
    """

    who: str
    at: float
    delay: float = 0.0

    def __str__(self) -> str:
        if self.who == "time":
            return f"after {self.at:.2f} s"
        after = f"{1000 * self.delay:.0f} ms after" if self.delay else "before"
        return f"{after} change {self.at:.0f} of a file by {'DVC' if self.who == 'dvc' else 'the stage'}"


def counted(project: Project, *command: str) -> tuple[list[str], dict[str, str]]:
    """The words and the environment of a dvc command in which changes of files are counted, of DVC and of stages."""
    script = f'#!/bin/sh\nexec "{sys.executable}" "{STOPPING}" "$@"\n'
    folder = Path(tempfile.gettempdir(), f"torture-{os.getuid()}-{hashlib.sha256(script.encode()).hexdigest()[:12]}")
    python = folder / "python"
    if not python.exists():
        folder.mkdir(exist_ok=True)
        partial = folder / f"python-{os.getpid()}"
        partial.write_text(script)
        partial.chmod(0o755)
        partial.replace(python)
    path = f"{folder}{os.pathsep}{project.environment['PATH']}"
    return [sys.executable, str(STOPPING), "-m", "dvc", *command], {"PATH": path, "TORTURE_ROOT": str(project.root)}


class Running:
    """A command that runs; a context manager, which leaves no process behind. With a moment it is one of dvc."""

    def __init__(self, project: Project, *command: str, moment: Moment | None = None, **environment: str) -> None:
        words, variables = list(command), {}
        if moment and moment.who != "time":
            words, variables = counted(project, *command[1:])
            variables["TORTURE_STOP"] = f"{moment.who} {moment.at:.0f} {moment.delay}"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__); a pipe would stay open with whoever outlives DVC
        self._start = time.monotonic()
        self._moment = moment
        self._process = psutil.Popen(
            words,
            cwd=project.root,
            env=project.environment | variables | environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._seen: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kills whoever still runs."""
        self.kill([self._process, *self._seen])
        self._process.wait()
        self._output.close()

    def reaches(self) -> bool:
        """Waits for the moment, and says whether it came before the end."""
        assert self._moment
        while self.runs():
            if self._moment.who == "time":
                if time.monotonic() - self._start >= self._moment.at:
                    return True
            elif any(_status(process) == psutil.STATUS_STOPPED for process in self.all()):
                return True
            time.sleep(0.005)
        return False

    def runs(self) -> bool:
        """Whether it has not come to its end."""
        return self._process.poll() is None

    def ends_within(self, seconds: float) -> bool:
        """Waits so long at most, and says whether it has come to its end."""
        deadline = time.monotonic() + seconds
        while self.runs() and time.monotonic() < deadline:
            self.all()
            time.sleep(0.05)
        return not self.runs()

    def all(self) -> list[psutil.Process]:
        """The process and all that it has started, directly or not."""
        found = [self._process]
        with suppress(psutil.NoSuchProcess):
            found += self._process.children(recursive=True)
        self._seen.update(found)
        return found

    def stage(self, name: str) -> psutil.Process | None:
        """The process of a stage."""
        return next((process for process in self.all() if f"stages/{name}.py" in _words(process)), None)

    def workers(self, stage: str) -> list[psutil.Process]:
        """The processes that a stage has started, directly or not."""
        if not (process := self.stage(stage)):
            return []
        with suppress(psutil.NoSuchProcess):
            workers = process.children(recursive=True)
            self._seen.update(workers)
            return [worker for worker in workers if _status(worker) not in GONE]
        return []

    def kill(self, processes: Iterable[psutil.Process]) -> bool:
        """Kills processes as kill -9 does, and says whether one of them was still at work.

        All are stopped first, so that none sees another one die.
        """
        processes = list(processes)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        at_work = any(_status(process) not in GONE for process in processes)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        return at_work

    def kill_all(self) -> bool:
        """Kills the process and all that it has started, and says whether one of them was still at work."""
        before: list[psutil.Process] = []
        while len(found := self.all()) > len(before):  # one may have started another meanwhile
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)
            before = found
        return self.kill(before)

    def go_on(self) -> None:
        """Lets whoever was stopped at the moment go on."""
        for process in self.all():
            if _status(process) == psutil.STATUS_STOPPED:
                process.send_signal(signal.SIGCONT)

    def end(self) -> tuple[int, str]:
        """Waits for the end; the exit code, and all that was printed."""
        deadline = time.monotonic() + WAIT
        while self.runs():
            self.all()
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("command", WAIT, self._printed().encode())
            time.sleep(0.05)
        return self._process.wait(), self._printed()

    def outlived(self) -> list[str]:
        """The commands of processes that still run long after the command has ended."""
        deadline = time.monotonic() + LONG_ENOUGH
        while alive := [one for one in self._seen - {self._process} if _status(one) not in GONE]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return [" ".join(_words(process)) for process in alive]

    def _printed(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.Error:
        return GONE[0]
