"""`make publish`: logs in MLflow what the stages could not, of this workspace and of all experiments. No stage runs.

The files tell it: of the workspace, and of DVC's cache. Runs that are complete stay as they are.
"""

import sys

from kws.commands.pull import record_all
from kws.core.errors import UserError
from kws.tracking.refusal import RefusedRunError


def main() -> None:
    """Logs what is missing, and says what that was."""
    try:
        record_all()
    except RefusedRunError as error:
        sys.exit(f"error: {error}")
    except UserError as error:
        sys.exit(f"error: {error}; what is logged by now stays: run make publish again")


if __name__ == "__main__":
    main()
