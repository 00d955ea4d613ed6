"""The model registry: every finished experiment's model is a version of `kws`; the best one has the alias `champion`.

The alias moves only to a model that is better than the present champion on the same test clips, by a paired test.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Map

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import read_json
from kws.evaluate.pairing import better, paired_test, read_answered
from kws.spotting.litert import read_about

NAME, ALIAS = "kws", "champion"
TEST_SOUND = "kws.test_sound"  # the tag of a version that tells which recordings it was tested on
SYNTHETIC = "kws.synthetic"  # likewise, whether a computer spoke them
LONGEST_DESCRIPTION = 5000  # characters: MLflow's column
PACKAGE = Path(__file__).parent.parent
REQUIRED = ("ai-edge-litert", "numpy")  # what a server needs beside MLflow
ARTIFACTS = {"network": paths.SPOTTER, "answers": paths.ANSWERS}


def register(card: str) -> str:
    """Logs the model in the active run, registers it, and makes it the champion if it is the first or better.

    Args:
        card: its model card, in Markdown.

    Returns:
        What became of it, for a person to read.
    """
    client = mlflow.MlflowClient()
    if not client.search_registered_models(f"name = '{NAME}'"):
        client.create_registered_model(NAME)
    aliases = client.get_registered_model(NAME).aliases
    source = read_json(paths.SOURCE)
    tags = {TEST_SOUND: _sound(source), SYNTHETIC: str(source["test_synthetic"])}
    wins, reason = True, "there was none"
    if ALIAS in aliases:
        wins, reason = _beats(client.get_model_version(NAME, aliases[ALIAS]), tags)
    version = _new_version(client, card, tags)
    if not wins:
        return f"registered as {NAME} version {version}; champion stays version {aliases[ALIAS]}: {reason}"
    client.set_registered_model_alias(NAME, ALIAS, version)
    client.update_registered_model(NAME, _shortened(card))
    return f"registered as {NAME} version {version}, the champion: {reason}"


def _new_version(client: mlflow.MlflowClient, card: str, tags: dict[str, str]) -> str:
    """Logs the model with signature, example and all that a server needs, and registers it: its version."""
    about = read_about(paths.SPOTTER.read_bytes())
    samples = about["front_end"]["clip_samples"]
    model = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(PACKAGE / "spotting" / "service.py"),
        code_paths=[str(PACKAGE)],
        artifacts={name: str(path) for name, path in ARTIFACTS.items()},
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, samples))]),
            outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(Map(DataType.double), "probabilities")]),
        ),
        input_example=np.zeros((1, samples), np.float32),
        metadata=about,
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIRED],
    )
    run_id = mlflow.active_run().info.run_id
    registered = client.create_model_version(
        NAME,
        model.model_uri,
        run_id,
        tags=tags,
        description=_shortened(card),
        model_id=model.model_id,
    )
    return str(registered.version)


def _sound(source: Mapping[str, Any]) -> str:
    """SHA-256 of the archive of the test clips: clips of one name may be other recordings."""
    return str((source["test"] or source)["sha256"])


def _beats(champion: ModelVersion, tags: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the answers of this workspace are better than the champion's, and why, or why not."""
    if champion.tags.get(SYNTHETIC) == "True" and tags[SYNTHETIC] == "False":
        return True, f"version {champion.version} was tested on a computer's voices, this one on people's"
    if champion.tags.get(TEST_SOUND) != tags[TEST_SOUND]:
        return False, "it was tested on other recordings, so they cannot be compared"
    try:
        kept = mlflow.artifacts.download_artifacts(f"models:/{NAME}/{champion.version}/artifacts/{paths.ANSWERS.name}")
    except (MlflowException, OSError) as problem:
        return False, f"its answers cannot be had: {problem}"
    theirs, ours = read_answered(Path(kept)), read_answered(paths.ANSWERS)
    try:
        test = paired_test(theirs, ours)
    except UserError as problem:
        return False, str(problem)
    low, difference, high = (100 * test[name] for name in ("low", "difference", "high"))
    clips = f"on the same {len(ours.correct)} test clips as version {champion.version}"
    return better(test), f"{difference:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}, {clips}"


def _shortened(card: str) -> str:
    """The card, cut at a line where it is longer than MLflow keeps."""
    if len(card) <= LONGEST_DESCRIPTION:
        return card
    rest = "\n\nThe rest stands in the run's artifacts."
    return card[: LONGEST_DESCRIPTION - len(rest)].rpartition("\n")[0] + rest
