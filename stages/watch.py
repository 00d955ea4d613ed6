"""watch: note what DVC cannot see by itself. It runs each time.

A path in dvc.yaml cannot depend on a parameter, so DVC cannot watch recordings of the user's own. Reads the folders or
archives that `dataset` and `test_dataset` name, if they are the user's, and the file that `pretrained` names. Writes
data/own.json, on which download depends, and data/pretrained.json, on which train depends. Removes data/tracked.json if
MLflow could not record the experiment, so that stage project tries again. Reads outputs that have appeared since it ran
last, since DVC does not notice bits that a disk has changed.
"""

import json
from pathlib import Path
from typing import Any

from kws.core import intact, paths, stage
from kws.core.address import public_address
from kws.core.errors import UserError
from kws.core.files import sha256_of, write_json
from kws.core.params import load_params, pretrained_path
from kws.download import sources
from kws.download.contents import contents_of


def main() -> None:
    """Parameters in, contents out."""
    params = load_params()
    for line in intact.mend():
        print(line)
    before = _before(paths.OWN)
    noted = {"dataset": _note(params.dataset, before.get("dataset")), "test_dataset": None}
    if params.test_dataset:
        try:
            noted["test_dataset"] = _note(params.test_dataset, before.get("test_dataset"))
        except UserError as problem:
            raise UserError(f"test_dataset: {str(problem).removeprefix('dataset: ')}") from None
    write_json(paths.OWN, noted)
    write_json(paths.PRETRAINED, {"pretrained": _note_pretrained(params.pretrained)})
    if paths.TRACKED.exists() and '"experiment": null' in paths.TRACKED.read_text(encoding="utf-8"):
        paths.TRACKED.unlink()


def _before(path: Path) -> dict[str, Any]:
    """What was noted before; nothing in a project that never ran, and where git left marks of a conflict."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return {}


def _note(dataset: str, before: dict[str, Any] | None) -> dict[str, Any] | None:
    """The contents of the user's own recordings; None for another data set.

    If they are not here, but were noted before, the note stays as it was. So a machine without them (continuous
    integration) can go on from what they were packed into, where it has that from DVC. Else download says what to do.
    """
    own, name = sources.own_path(dataset), public_address(dataset)
    if own is None:
        return None
    if before and before["name"] == name and not own.exists():
        print(f"{name} is not here ({own}): its {before['files']} files are used as packed before, if DVC has that")
        return before
    sources.require_own(dataset, own)
    return {"name": name, **contents_of(own)}


def _note_pretrained(pretrained: str) -> dict[str, Any] | None:
    """The SHA-256 of the file; None if there is none, or if it comes with kws.

    As with recordings, a note stays if the file is not here: DVC may have what was trained from it.

    Raises:
        UserError: the file is not here, and was not noted before.
    """
    path, name = pretrained_path(pretrained), public_address(pretrained)
    if path is None:
        return None
    if path.is_file():
        return {"name": name, "sha256": sha256_of(path)}
    before = _before(paths.PRETRAINED).get("pretrained")
    if not before or before["name"] != name:
        raise UserError(
            f"pretrained: {pretrained} does not exist ({path}): give an embedding (.npz), a network (.keras), or "
            "kws, or leave it empty"
        )
    print(f"{name} is not here ({path}): what was trained from it is used, if DVC has that")
    return dict(before)


if __name__ == "__main__":
    stage.run(main, __doc__)
