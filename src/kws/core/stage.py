"""How every stage script runs: `--help`, then its work, with the user's mistakes reported in one line."""

import argparse
import errno
import gc
import os
import sys
from collections.abc import Callable
from typing import Literal

from kws.core import intact
from kws.core.errors import UserError

Synthetic = bool | Literal["partly"]  # whether voices are synthetic: all, none, or some of them


def run(main: Callable[[], None], description: str | None) -> None:
    """Runs a stage. A `UserError` or a full disk ends it with exit code 1 and one line on stderr.

    If DVC started it, what it depends on must be what earlier stages wrote.
    """
    argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        if stage := os.environ.get("DVC_STAGE"):
            intact.require_intact(stage)
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"error: the disk is full ({error.filename or 'while writing'}): make room, then run it again")
    gc.freeze()  # else Python searches the objects of TensorFlow or UMAP for garbage at exit: a second


def voices_title(title: str, synthetic: Synthetic) -> str:
    """The title, marked if voices are synthetic, or some of them: such figures do not hold for people."""
    marks = {True: " (synthetic voices)", "partly": " (partly synthetic voices)", False: ""}
    return title + marks[synthetic]
