"""How every stage script runs: `--help`, then its work, with the user's mistakes reported in one line."""

import argparse
import errno
import gc
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Literal

from kws.core import intact, leftovers
from kws.core.errors import UserError

FIRST_STAGE = "watch"  # which runs each time
FIRST_TIME = 315_619_200  # s: the year 1980, the first that zip files can tell, such as Keras's

Synthetic = bool | Literal["partly"]  # whether voices are synthetic: all, none, or some of them


def run(main: Callable[[], None], description: str | None) -> None:
    """Runs a stage. A `UserError` or a full disk ends it with exit code 1 and one line on stderr.

    If DVC started it, what it depends on must be what earlier stages wrote.
    """
    argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        _run_checked(main, os.environ.get("DVC_STAGE"))
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"error: the disk is full ({error.filename or 'while writing'}): make room, then run it again")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        sys.exit("error: the disk is full (a temporary table): make room, then run it again")
    gc.freeze()  # else Python searches the objects of TensorFlow or UMAP for garbage at exit: a second


def _run_checked(main: Callable[[], None], stage: str | None) -> None:
    """Runs it, for DVC if that names the stage."""
    if time.time() < FIRST_TIME:
        raise UserError(f"the clock of this computer says {time.ctime()}: set it, since files are stamped with it")
    if not stage:
        main()
        return
    if stage == FIRST_STAGE:
        leftovers.remove()
    with leftovers.at_work():
        intact.require_intact(stage)
        main()


def voices_title(title: str, synthetic: Synthetic) -> str:
    """The title, marked if voices are synthetic, or some of them: such figures do not hold for people."""
    marks = {True: " (synthetic voices)", "partly": " (partly synthetic voices)", False: ""}
    return title + marks[synthetic]
