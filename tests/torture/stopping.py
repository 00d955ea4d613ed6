"""Runs a program, counts what it changes in a project, and stops it at one of these changes.

`python stopping.py stages/train.py` or `python stopping.py -m dvc repro`. The program is stopped by SIGSTOP, so that
whoever watches it can kill it, and what it has started, right there. Environment:

TORTURE_ROOT: the project's folder; changes outside of it do not count.
TORTURE_STOP: who is stopped (`dvc` or `stage`), before which change, from 1 on, and how many seconds later:
`stage 7 0.01`.
TORTURE_COUNTS: a folder in which the number of changes is noted at the end.
"""

import atexit
import os
import runpy
import signal
import sys
import threading
from pathlib import Path
from typing import Any

EVENTS = ("os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate")
ROOT = os.environ["TORTURE_ROOT"] + os.sep
changes = 0


def changes_project(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event says that something in the project is about to change."""
    if event == "open":
        path, _, flags = arguments
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return False
    elif event in EVENTS:
        path = arguments[0]
    else:
        return False
    if not isinstance(path, str | os.PathLike):
        return False
    path = os.path.abspath(path)  # noqa: PTH100 (links are not followed)
    return path.startswith(ROOT) and "__pycache__" not in path


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def main() -> None:
    who = "dvc" if sys.argv[1] == "-m" else "stage"
    stopped, number, delay = os.environ.get("TORTURE_STOP", "nobody 0 0").split()

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        global changes  # noqa: PLW0603 (a hook has no other place)
        if not changes_project(event, arguments):
            return
        changes += 1
        if who == stopped and changes == int(number):
            if float(delay):
                timer = threading.Timer(float(delay), stop)
                timer.daemon = True
                timer.start()
            else:
                stop()

    def note() -> None:
        Path(counts, who).write_text(str(changes))

    if counts := os.environ.get("TORTURE_COUNTS"):
        atexit.register(note)
    sys.addaudithook(look)
    if who == "dvc":
        sys.argv = sys.argv[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[1:]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
