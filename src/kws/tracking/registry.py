"""The model registry: every finished experiment's model is a version of `kws`; the best one has the alias `champion`.

The alias moves only to a model that is better than the present champion on the same validation clips, by a paired
test, or to a new export of the champion's network. The test clips decide nothing: they are told of the one chosen.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Map

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import sha256_of
from kws.core.naming import is_computed
from kws.evaluate.metrics import share_interval
from kws.evaluate.pairing import anonymous, paired_test, read_anonymous, read_answered, write_anonymous
from kws.recordings.source import DataSource
from kws.spotting.litert import read_about
from kws.tracking.store import CODE, ORIGIN

NAME, ALIAS = "kws", "champion"
# Tags of a version
# SHA-256 of the archives of the validation clips: clips of one name may be other recordings
VALIDATION_SOUND = "kws.validation_sound"
SYNTHETIC = "kws.synthetic"  # whether a computer spoke the test clips
MODEL = "kws.model"  # SHA-256 of the Keras file
SERVED = "kws.served"  # the hash of what a server gets: see `served_hash`
REMOVED_NETWORKS = "kws.removed_networks"  # tag of `kws`: how many networks `make clean-runs` has removed
DECIDED = "kws.decided"  # "no" until it is compared with the champion, then "yes"
LONGEST_TURN = 60  # s: a comparison takes a few
LONGEST_DESCRIPTION = 5000  # characters: MLflow's column
PACKAGE = Path(__file__).parent.parent
SHIPPED = ("audio", "core", "spotting")  # the packages of kws that a server gets
SERVICE = "spotting/service.py"  # what MLflow runs, in kws
REQUIRED = ("ai-edge-litert", "mlflow", "numpy")  # what a server needs beside them
ANSWERS = "validation_answers.npz"  # in the artifacts of a version: `kws.evaluate.pairing.anonymous`


def register(card: str) -> str:
    """Logs the model in the active run and registers it. It becomes the champion if it is the first or better.

    Args:
        card: its model card, in Markdown.

    Returns:
        A sentence: the number of the version, which version is the champion, and why.
    """
    client = mlflow.MlflowClient()
    _create(client)
    source = DataSource.read(paths.SOURCE)
    tags = {
        VALIDATION_SOUND: _validation_sound(source),
        SYNTHETIC: str(source.test_synthetic),
        MODEL: sha256_of(paths.MODEL),
        SERVED: served_hash(),
    }
    # It is there if MLflow failed after it was made
    number = _registered(mlflow.active_run().info.run_id) or _new_version(client, card, tags | {DECIDED: "no"})
    _wait_for_earlier(client, number)
    champion = client.get_registered_model(NAME).aliases.get(ALIAS)
    if not champion:
        wins, reason = True, "there was none"
    elif str(champion) == number:
        wins, reason = True, "it was that already when MLflow failed"
    else:
        wins, reason = _beats(client.get_model_version(NAME, champion), tags)
    if wins:
        client.set_registered_model_alias(NAME, ALIAS, number)
    client.set_model_version_tag(NAME, number, DECIDED, "yes")
    if not wins:
        return f"registered as {NAME} version {number}; champion stays version {champion}: {reason}"
    chosen = _chosen(_networks(client))
    client.update_registered_model(NAME, _shortened(f"Version {number}: {chosen}.\n\n{card}"))
    return f"registered as {NAME} version {number}, the champion: {reason}; {chosen}"


def _validation_sound(source: DataSource) -> str:
    """The SHA-256 of the data set, and behind it that of computed voices beside people if they speak in validation."""
    computed = any(map(is_computed, read_answered(paths.VALIDATION).names))
    return source.sha256 + (f"+{source.computed.sha256}" if source.computed and computed else "")


def _create(client: mlflow.MlflowClient) -> None:
    """Creates the registered model `kws`, unless it is there or somebody else creates it just now."""
    if not client.search_registered_models(f"name = '{NAME}'"):
        try:
            client.create_registered_model(NAME)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _wait_for_earlier(client: mlflow.MlflowClient, number: str) -> None:
    """Waits until it is decided of all versions before this one whether they are champion, but not for ever.

    On a server, several people may register at the same time. If two compared with the same champion, the worse of two
    better models could follow it. The numbers of the versions give the order. Who died in between is not waited for
    after LONGEST_TURN.
    """
    end = time.monotonic() + LONGEST_TURN
    began = client.get_model_version(NAME, number).creation_timestamp
    while time.monotonic() < end:
        if not any(
            int(version.version) < int(number)
            and version.tags.get(DECIDED) == "no"
            and began - version.creation_timestamp < 1000 * LONGEST_TURN
            for version in client.search_model_versions(f"name = '{NAME}'")
        ):
            return
        time.sleep(1)


def is_registered(run_id: str) -> bool:
    """Whether the newest version of a run holds the very files that would be registered now."""
    return _registered(run_id) is not None


def _registered(run_id: str) -> str | None:
    """The number of the newest version of a run, if it holds the very files that would be registered now."""
    versions = mlflow.MlflowClient().search_model_versions(f"name = '{NAME}' and run_id = '{run_id}'")
    newest = max(versions, key=lambda found: int(found.version), default=None)
    return str(newest.version) if newest and newest.tags.get(SERVED) == served_hash() else None


def shipped_files() -> list[Path]:
    """The files of kws that a server gets, relative to its folder."""
    files = [path for package in SHIPPED for path in (PACKAGE / package).rglob("*.py")]
    return sorted(path.relative_to(PACKAGE) for path in [PACKAGE / "__init__.py", *files])


def served_hash() -> str:
    """SHA-256 of what a server gets: the exported network, the shipped code, the requirements."""
    parts = {path.as_posix(): sha256_of(PACKAGE / path) for path in shipped_files()}
    parts |= {"network": sha256_of(paths.SPOTTER), "requirements": " ".join(_requirements())}
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()


def _requirements() -> list[str]:
    micro = read_about(paths.SPOTTER.read_bytes())["front_end"].get("kind") == "micro"
    return [f"{name}=={version(name)}" for name in (*REQUIRED, *(["pymicro-features"] if micro else []))]


@contextmanager
def _shipped() -> Iterator[Path]:
    """A temporary folder with the shipped part of kws, and the answers without names."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in shipped_files():
            target = folder / "kws" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PACKAGE / path, target)
        write_anonymous(folder / ANSWERS, anonymous(read_answered(paths.VALIDATION)))
        yield folder


def _new_version(client: mlflow.MlflowClient, card: str, tags: dict[str, str]) -> str:
    """Logs the model with all that a server needs, registers it, and returns the number of its version."""
    metadata = read_about(paths.SPOTTER.read_bytes())
    samples = metadata["front_end"]["clip_samples"]
    run = client.get_run(mlflow.active_run().info.run_id)
    with _shipped() as folder:
        model = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(folder / "kws" / SERVICE),
            code_paths=[str(folder / "kws")],
            artifacts={"network": str(paths.SPOTTER), "answers": str(folder / ANSWERS)},
            signature=ModelSignature(
                inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, samples))]),
                outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(Map(DataType.double), "probabilities")]),
            ),
            input_example=np.zeros((1, samples), np.float32),
            metadata=metadata,
            pip_requirements=_requirements(),
            tags={CODE: "stages/project.py", ORIGIN: run.data.tags.get(ORIGIN, "")},
        )
    registered = client.create_model_version(
        NAME,
        model.model_uri,
        run.info.run_id,
        tags=tags,
        description=_shortened(card),
        model_id=model.model_id,
    )
    return str(registered.version)


def _beats(champion: ModelVersion, tags: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the model of this workspace takes the champion's place, and the reason."""
    if champion.tags.get(SYNTHETIC) == "True" and tags[SYNTHETIC] == "False":
        return True, f"version {champion.version} was tested on synthetic voices, this one on people"
    if VALIDATION_SOUND not in champion.tags:
        return False, "it is of an older kws, which kept no answers to validation clips; move the alias by hand"
    if champion.tags[VALIDATION_SOUND] != tags[VALIDATION_SOUND]:
        return False, "its validation clips are other recordings, so they cannot be compared"
    if champion.tags.get(MODEL) == tags[MODEL] and champion.tags.get(SERVED) != tags[SERVED]:
        return True, f"it is the network of version {champion.version}, exported anew"
    return _is_better(champion)


def _is_better(champion: ModelVersion) -> tuple[bool, str]:
    """Whether the network of this workspace is better than the champion's on the same validation clips."""
    try:
        file = mlflow.artifacts.download_artifacts(f"models:/{NAME}/{champion.version}/artifacts/{ANSWERS}")
        old, new = read_anonymous(Path(file)), anonymous(read_answered(paths.VALIDATION))
        test = paired_test(old, new)
    except (MlflowException, OSError) as problem:
        return False, f"its answers cannot be had: {problem}"
    except UserError as problem:
        return False, str(problem)
    return test.better, f"{test}, on the same {len(new.correct)} validation clips as version {champion.version}"


def _networks(client: mlflow.MlflowClient) -> int:
    """How many networks were registered: one that is exported anew is a version more, and no network more."""
    registered = {found.tags.get(MODEL, found.version) for found in client.search_model_versions(f"name = '{NAME}'")}
    return len(registered) + int(client.get_registered_model(NAME).tags.get(REMOVED_NETWORKS, 0))


def _chosen(networks: int) -> str:
    """The test accuracy of the model of this workspace, beside the number of networks it was chosen from."""
    test = read_answered(paths.ANSWERS)
    low, high = share_interval(test.correct, test.speakers)
    among = f"1 of {networks} networks, chosen on validation clips" if networks > 1 else "the first network"
    return f"{among}; test accuracy {test.correct.mean():.1%}, 95 % interval {low:.1%} to {high:.1%}"


def _shortened(card: str) -> str:
    """The card, cut at the end of a line if it is too long for MLflow."""
    if len(card) <= LONGEST_DESCRIPTION:
        return card
    rest = "\n\nThe rest is in the run's artifacts."
    return card[: LONGEST_DESCRIPTION - len(rest)].rpartition("\n")[0] + rest
