"""`make sweep SPACE=presets/sweeps/training.yaml TRIALS=20`: searches for parameters, on validation alone.

The same command on another terminal, or on another machine with the same STORAGE, is another worker of the study.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kws.commands.exp import overrides, split_settings
from kws.core import paths
from kws.core.errors import UserError
from kws.core.params import Params, load_params
from kws.sweep.copy import set_params
from kws.sweep.space import Search, Space

STUDIES = "sweeps.db"  # in the project's root: the studies of this machine
MOST = 10_000  # trials


def main() -> None:
    """Runs trials until the study has those that are wanted, then prints and writes what was found."""
    if find_spec("optuna") is None:
        sys.exit("error: make sweep needs Optuna: make setup WITH=sweep")
    from kws.sweep.worker import run_worker

    space, trials, study, storage, remote, settings = sys.argv[1:7]
    try:
        search = read_search(Path(space), trials, split_settings(settings))
        print(
            run_worker(
                search,
                _name(study or search.file.stem),
                storage or f"sqlite:///{paths.project_root() / STUDIES}",
                remote,
            )
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the trial of this worker is run again when a worker begins")


def read_search(file: Path, trials: str, settings: Sequence[str]) -> Search:
    """What a worker is asked for.

    Args:
        file: of the space.
        trials: how many the study is to have in all.
        settings: `name=value` each, of all trials.

    Raises:
        UserError: a mistake in these.
    """
    if not trials.isdecimal() or not 1 <= int(trials) <= MOST:
        raise UserError(f"TRIALS={trials}: give the number of trials, 1 to {MOST}")
    space = Space.read(file)
    common = [*(f"{key}={value}" for key, value in space.settings.items()), *settings]
    base = _base(file, overrides(space.preset, common))
    space.check(file, base)

    def overrides_of(values: Mapping[str, Any]) -> list[str]:
        return overrides(space.preset, [*common, *(f"{key}={value}" for key, value in values.items())])

    return Search(file, space, base, overrides_of, int(trials))


def _name(study: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", study):
        raise UserError(f"STUDY={study}: it names experiments and files; letters, digits, - and _ are allowed")
    return study


def _base(file: Path, common: Sequence[str]) -> Params:
    """The parameters of all trials, before those that are searched."""
    for setting in common:
        key = setting.partition("=")[0]
        if key not in Params.model_fields:
            raise UserError(f"{file}, its preset or SET: {key}: no such parameter")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(paths.PARAMS, folder))
        set_params(path, common)
        try:
            return load_params(path)
        except UserError as error:
            raise UserError(f"{file}, its preset or SET: {str(error).removeprefix(f'{path}: ')}") from None


if __name__ == "__main__":
    main()
