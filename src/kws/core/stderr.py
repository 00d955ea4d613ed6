"""Hides or catches what native libraries write to stderr, since they have no option for it."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def without_banners() -> Iterator[None]:
    """Drops what is written to stderr inside the block, such as the log of LiteRT and its converter."""
    with Path(os.devnull).open("wb") as nowhere, _stderr_to(nowhere.fileno()):
        yield


@contextmanager
def caught_stderr() -> Iterator[Callable[[], str]]:
    """Keeps what is written to stderr inside the block; the function that it yields gives it."""
    with tempfile.TemporaryFile() as file:

        def told() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        with _stderr_to(file.fileno()):
            yield told


@contextmanager
def _stderr_to(number: int) -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(number, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
