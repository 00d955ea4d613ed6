"""`make exp PRESET=fast SET='seed=2'`: prints and runs a `dvc exp run` with the parameters of a preset."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from kws.core import paths
from kws.core.errors import UserError
from kws.core.params import Params, read_yaml

PRESETS = Path("presets")
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_/.:-]*|\d+/\d+")  # what Hydra reads as text without quotes ...
_NO_TEXT = ("true", "false", "null", "inf", "nan")  # ... except these
T = TypeVar("T")


def split_settings(text: str) -> list[str]:
    """The settings in a `SET`: separated by spaces, which may stand within quotes and within the brackets of a list.

    Quotes are removed. A quotation mark inside a word is an apostrophe, so that words=[don't] needs no quotes.

    Raises:
        UserError: a quote or a bracket is not closed.
    """
    settings, setting = [], ""
    quote = bracket = ""
    for character, following in pairwise(f"{text} "):
        at_start = not setting or setting[-1] in "=[, "
        if quote:
            if character == quote and following in " \t\n,]":
                quote = ""
            else:
                setting += character
        elif character in "'\"" and at_start:
            quote = character
        elif character.isspace() and not bracket:
            settings.append(setting)
            setting = ""
        else:
            setting += character
            if character == "[" and setting.endswith("=["):
                bracket = "["
            elif character == "]":
                bracket = ""
    if quote or bracket:
        raise UserError(f"SET={text}: {quote or bracket} is not closed")
    return [setting for setting in [*settings, setting] if setting]


def command(preset: str, settings: Sequence[str]) -> list[str]:
    """The words of the command; arguments and errors as in `overrides`."""
    return ["dvc", "exp", "run", *(word for override in overrides(preset, settings) for word in ("-S", override))]


def overrides(preset: str, settings: Sequence[str]) -> list[str]:
    """The parameters of an experiment as option -S of DVC takes them, `name=value` each.

    Args:
        preset: name of a file in presets/.
        settings: `name=value` each, as `split_settings` returns them; they override the preset's.

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
    return [*(_override(f"{name}={value}") for name, value in read_yaml(path).items()), *map(_override, settings)]


def _override(setting: str) -> str:
    """The setting as DVC must have it, which reads the grammar of Hydra: texts that it would not read get quotes.

    Numbers and choices stay as they are, so that sweeps of them can be queued.
    """
    name, _, value = setting.partition("=")
    field = Params.model_fields.get(name)
    if field and field.annotation is str:
        return f"{name}={_quoted(value)}"
    if name == "words" and value.startswith("[") and value.endswith("]"):
        words = value[1:-1].split(",") if value[1:-1].strip() else []
        return f"{name}=[{','.join(_quoted(word.strip()) or repr('') for word in words)}]"
    return setting


def _quoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":  # somebody has quoted it for Hydra
        text = text[1:-1]
    if not text or (_PLAIN.fullmatch(text) and text.casefold() not in _NO_TEXT):
        return text
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # or OmegaConf would put another parameter there
    mark = '"' if "'" in text else "'"
    text = re.sub(rf"(\\*)({mark}|\Z)", lambda found: found[1] * 2 + (f"\\{mark}" if found[2] else ""), text)
    return f"{mark}{text}{mark}"


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
