"""A second process: it computes while the stage imports, draws and encodes.

It is no process of `multiprocessing`, because that would import the stage's script, and warns when one is killed.
"""

import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from kws.core.errors import UserError


@contextmanager
def results_of(function: Callable[..., Iterable[Any]], *arguments: Any) -> Iterator[Iterator[Any]]:
    """Starts `function(*arguments)` in a process of its own and yields an iterator over its results.

    The process starts at once. It ends with the block, whatever happens in the block, and when this process dies.

    Args:
        function: returns or generates results. The function, its arguments and its results are pickled.
        arguments: of the function.

    Raises:
        Exception: what the function raises. The iterator raises it in place of the next result.
        UserError: the process ended too early, for instance because memory ran out. The iterator raises it.
    """
    warning_options = [f"-W{option}" for option in sys.warnoptions]
    with subprocess.Popen(  # noqa: S603 (Python itself)
        [sys.executable, *warning_options, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the other one
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it was killed: `_received` says so
                pickle.dump((function, arguments), process.stdin)
                process.stdin.flush()  # and kept open: its end tells the process that this one has died
            yield _received(process.stdout)
        finally:
            process.kill()
            with suppress(BrokenPipeError):
                process.stdin.close()


def _received(results: IO[bytes]) -> Iterator[Any]:
    while True:
        try:
            kind, content = pickle.load(results)  # noqa: S301 (from this module)
        except (EOFError, pickle.UnpicklingError):  # also in the middle of a result
            raise UserError(
                "the process beside this one was killed before its work was done: does the computer lack memory? "
                "Type dvc repro again"
            ) from None
        if kind == "end":
            return
        if kind == "error":
            raise content
        yield content


def _main() -> None:
    """The second process: reads a function with its arguments from stdin, and writes the results to stdout."""
    function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 (from this module)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with os.fdopen(os.dup(1), "wb") as results:
        os.dup2(2, 1)  # what libraries print goes to stderr
        try:
            for result in function(*arguments):
                _send(results, "result", result)
            _send(results, "end", None)
        except Exception as error:  # noqa: BLE001 (the first process raises it)
            error.add_note(traceback.format_exc())
            _send(results, "error", error)


def _send(results: IO[bytes], kind: str, content: Any) -> None:
    pickle.dump((kind, content), results)
    results.flush()


def _end_with_parent() -> None:
    """Ends this process when its parent dies, which closes stdin."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    _main()
