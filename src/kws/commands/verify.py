"""`make verify`: reads all files in DVC's cache, sets damaged ones aside, and replaces them from the workspace."""

import sys

from kws.core import intact, paths
from kws.core.errors import UserError
from kws.core.naming import first_names


def main() -> None:
    """Prints what was found. Damaged files that could not be replaced end it with exit code 1."""
    try:
        files, replaced, lost = intact.mend_cache()
    except UserError as error:
        sys.exit(f"error: {error}")
    aside = paths.project_root() / ".scratch" / "damaged"
    print(f"{files} files in DVC's cache, {len(replaced) + len(lost)} of them damaged")
    if replaced:
        print(f"replaced from the workspace: {first_names(replaced)}; the damaged ones are in {aside}")
    if lost:
        sys.exit(
            f"error: now in {aside}: {first_names(lost)}; dvc pull, or dvc repro where they are needed, brings them"
        )


if __name__ == "__main__":
    main()
