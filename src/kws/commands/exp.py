"""`make exp PRESET=fast SET='seed=2'`: prints and runs a `dvc exp run` with the parameters of a preset."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from kws.core import paths
from kws.core.errors import UserError
from kws.core.params import read_yaml

PRESETS = Path("presets")
T = TypeVar("T")


def split_settings(text: str) -> list[str]:
    """The settings in a `SET`, split as a shell does.

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
        settings: `name=value` each; they override the preset's.

    Raises:
        UserError: there is no such preset, or a setting is not `name=value`.
    """
    path = PRESETS / f"{preset}.yaml"
    if not path.exists():
        presets = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml")))
        raise UserError(f"PRESET={preset}: no such preset; the presets are {presets}")
    for setting in settings:
        if "=" not in setting:
            raise UserError(f"SET={setting}: give name=value, several with spaces between them")
    overrides = [f"{name}={value}" for name, value in read_yaml(path).items()]
    return ["dvc", "exp", "run", *(word for setting in [*overrides, *settings] for word in ("-S", setting))]


def run_series(preset: str, settings: Sequence[str], series: Sequence[str], result: Callable[[], T]) -> list[T]:
    """Runs experiments one after the other, each as far as stage evaluate: nothing is made for devices.

    If one fails, params.yaml is again what it was. Else the next experiment would take a setting of the series,
    unnoticed.

    Args:
        preset: name of a file in presets/.
        settings: `name=value` each, of all experiments.
        series: `name=value`, of one experiment each.
        result: called after each experiment.

    Returns:
        The results, in order.

    Raises:
        UserError: as `command`.
        SystemExit: an experiment failed, with its exit code. DVC has said why.
    """
    before = paths.PARAMS.read_text(encoding="utf-8")
    results: list[T] = []
    try:
        for setting in series:
            words = [*command(preset, [*settings, setting]), "evaluate"]
            print(shlex.join(words), flush=True)
            subprocess.run(words, check=True)  # noqa: S603 (ours)
            results.append(result())
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    finally:
        if len(results) < len(series):
            paths.PARAMS.write_text(before, encoding="utf-8")
    return results


def main() -> None:
    """Prints the command and replaces this process by it."""
    try:
        words = command(sys.argv[1], split_settings(sys.argv[2]))
    except UserError as error:
        sys.exit(f"error: {error}")
    print(shlex.join(words), flush=True)
    os.execvp(words[0], words)  # noqa: S606 (no shell is what is wanted)


if __name__ == "__main__":
    main()
