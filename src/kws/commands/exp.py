"""`make exp PRESET=fast SET='seed=2'`: prints and runs the `dvc exp run` that sets a preset's parameters."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kws.core.errors import UserError
from kws.core.params import read_yaml

PRESETS = Path("presets")


def split_settings(text: str) -> list[str]:
    """The settings of a `SET`, split as a shell does.

    Raises:
        UserError: a quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"SET={text}: {error}") from None


def command(preset: str, settings: Sequence[str]) -> list[str]:
    """The words of the command.

    Args:
        preset: name of a file in presets/.
        settings: `name=value` each; they come after the preset's, so that they win.

    Raises:
        UserError: there is no such preset, or a setting is none.
    """
    path = PRESETS / f"{preset}.yaml"
    if not path.exists():
        raise UserError(f"PRESET={preset}: there are {', '.join(sorted(p.stem for p in PRESETS.glob('*.yaml')))}")
    for setting in settings:
        if "=" not in setting:
            raise UserError(f"SET={setting}: give name=value, several with spaces between them")
    overrides = [f"{name}={value}" for name, value in read_yaml(path).items()]
    return ["dvc", "exp", "run", *(word for setting in [*overrides, *settings] for word in ("-S", setting))]


def main() -> None:
    """Prints the command and becomes it."""
    try:
        words = command(sys.argv[1], split_settings(sys.argv[2]))
    except UserError as error:
        sys.exit(f"error: {error}")
    print(shlex.join(words), flush=True)
    os.execvp(words[0], words)  # noqa: S606 (no shell is what is wanted)


if __name__ == "__main__":
    main()
