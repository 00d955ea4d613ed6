"""Runs a command for a worker, and kills it with all that it started when the worker is gone.

The worker holds the other end of this process's stdin. When the worker dies, stdin ends. Without this, a killed worker
would leave its training behind, and another worker would run the same trial beside it. This is a script without
imports of kws: it runs in the copy of the project.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Runs the command in the arguments, and ends with its exit code."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the command ends by it, and this process tells how
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603 (the worker's)
    threading.Thread(target=_watch, daemon=True).start()
    code = command.wait()
    os._exit(code if code >= 0 else 128 - code)  # not by sys.exit, which would wait for the thread's read of stdin


def _watch() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
