"""`make embedding SET='...' NAME=kws`: trains the embedding with which other networks begin, and makes a file of it.

Runs preset `embedding` as an experiment as far as stage train, and writes what the network has learnt, without its last
layer, to src/kws/train/embeddings/<NAME>.npz. docs/few-recordings.md says how to make one of other data.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kws.commands.exp import command, split_settings
from kws.core import paths
from kws.core.address import public_address
from kws.core.errors import UserError
from kws.core.files import csv_rows, read_json, sha256_of
from kws.core.naming import is_computed
from kws.core.params import Params, load_params
from kws.recordings.licences import together
from kws.recordings.people import speaker_split
from kws.recordings.source import DataSource

PRESET = "embedding"
_OF_DATA = ("dataset", "address", "sha256", "licence")
_PUBLISHED_SPEAKER = re.compile(r"[0-9a-f]{8}")  # as Speech Commands names its speakers


def main() -> None:
    """Runs the experiment, then writes the embedding."""
    try:
        settings, path = split_settings(sys.argv[1]), _path(sys.argv[2])
        _run(settings, "featurize")
        params, source = load_params(), DataSource.read(paths.SOURCE)
        heard = [row for row in csv_rows(paths.MANIFEST) if (row["split"], row["status"]) == ("train", "ok")]
        refuse_tested({row["speaker"] for row in heard if not is_computed(row["name"])})
        _run(settings, "train")
        begun_with = read_json(paths.METRICS / "train.json").get("pretrained_licence")
        write(about(params, source, heard, begun_with), path)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {sha256_of(path)}")


def _run(settings: list[str], stage: str) -> None:
    """Runs the experiment up to a stage; ends with its exit code if that fails."""
    words = [*command(PRESET, settings), stage]
    print(shlex.join(words), flush=True)
    if code := subprocess.run(words, check=False).returncode:  # noqa: S603 (ours)
        sys.exit(code)


def refuse_tested(speakers: Iterable[str]) -> None:
    """Checks that nobody was heard who is in validation or test of Speech Commands, by the published hash.

    Networks that begin with the embedding are judged by those people.

    Raises:
        UserError: somebody was.
    """
    tested = sorted(name for name in speakers if _PUBLISHED_SPEAKER.fullmatch(name) and speaker_split(name) != "train")
    if tested:
        raise UserError(
            f"the embedding has heard {len(tested)} people of validation or test of Speech Commands "
            f"({', '.join(tested[:3])} …), by whom networks that begin with it are judged: leave their recordings out"
        )


def about(
    params: Params, source: DataSource, heard: Iterable[Mapping[str, str]], begun_with: str | None
) -> dict[str, Any]:
    """What an embedding says of itself: the network, what it has heard, the licence of that, and how it was made.

    No date and no path stands in it: the same making gives the same bytes.

    Args:
        params: of the experiment.
        source: of its recordings.
        heard: the rows of the manifest of the training clips.
        begun_with: the licence of what the network of parameter `pretrained` had heard; None: it began from nothing.
    """
    from kws.train.pretrained import person_digest  # loads TensorFlow

    heard = list(heard)
    archives = [source, source.computed] if source.computed else [source]
    values = params.model_dump(mode="json")
    return {
        "model": params.model,
        "width": params.width,
        "causal": params.causal,
        "words": sorted({row["word"] for row in heard}),
        "clips": len(heard),
        "computed_clips": sum(is_computed(row["name"]) for row in heard),
        "people": sorted({person_digest(row["speaker"]) for row in heard if not is_computed(row["name"])}),
        "data": [{name: getattr(archive, name) for name in _OF_DATA} for archive in archives],
        "licence": together([*(archive.licence for archive in archives), *([begun_with] if begun_with else [])]),
        "made_by": "make embedding",
        "parameters": {
            name: public_address(value) if isinstance(value, str) else value for name, value in values.items()
        },
    }


def _path(name: str) -> Path:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        raise UserError(f"NAME={name}: take small letters, digits, -, _ and .")
    return Path("src/kws/train/embeddings") / f"{name}.npz"


def write(content: Mapping[str, Any], path: Path) -> None:
    """Writes the embedding of models/kws.keras."""
    from kws.train import models, pretrained

    model, spec = models.load_model(paths.MODEL)
    pretrained.write_embedding(model, spec, content, path)


if __name__ == "__main__":
    main()
