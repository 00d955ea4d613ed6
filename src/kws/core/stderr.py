"""What libraries write to stderr beneath Python, and cannot be asked not to."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def without_banners() -> Iterator[None]:
    """Drops what is written to stderr meanwhile: LiteRT and its converter tell of their work there."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
