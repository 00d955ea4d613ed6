"""What MLflow holds that nothing needs, for `make clean-runs`: runs, their models, and what is in MLflow's trash.

The store must be the project's own. A server may hold the runs of other people, whose branches are not known here.
"""

import os
import re
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # these must be set before the import
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")

import mlflow
from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from kws.core.errors import UserError
from kws.tracking.refusal import LONGEST, QUICK, reason_of
from kws.tracking.registry import MODEL, NAME, REMOVED_NETWORKS
from kws.tracking.run import EXPERIMENT

FAILURES = (MlflowException, SQLAlchemyError, OSError, ImportError)  # of a store that cannot be used
RUNNING = ("RUNNING", "SCHEDULED")


@dataclass(frozen=True)
class Champion:
    """A version of the registry with an alias.

    Attributes:
        title: its number and its aliases.
        run: ID of its run.
        model: SHA-256 of its Keras file; None if an older kws registered it.
        experiment: name of its DVC experiment, if it was one.
    """

    title: str
    run: str
    model: str | None
    experiment: str | None


@dataclass(frozen=True)
class Unneeded:
    """What may go from a store.

    Attributes:
        runs: of experiment kws, that are not deleted yet.
        versions: of the registered model `kws`, all without an alias, of these runs.
        models: logged by these runs, that no other version serves.
        trash: how many runs and experiments were deleted in MLflow before, which still take room.
        kept: how many runs stay.
        bytes: of the artifacts of all of them.
    """

    runs: Sequence[Run]
    versions: Sequence[ModelVersion]
    models: Sequence[LoggedModel]
    trash: int
    kept: int
    bytes: int


def without_password(address: str) -> str:
    """The address of a store, as it may be shown."""
    return re.sub(r"//[^/@:]*(:[^@]*)?@", "//", address)  # a password may hold slashes


def champions(address: str) -> list[Champion]:
    """The versions with an alias.

    Args:
        address: of the store, as MLFLOW_TRACKING_URI has it.

    Raises:
        UserError: the store does not answer: what the champion needs is then unknown.
    """
    for name, value in QUICK.items():  # a dead server costs seconds, not minutes
        os.environ.setdefault(name, value)
    try:
        client = mlflow.MlflowClient(address)
        found = client.search_registered_models(f"name = '{NAME}'")
        aliases = found[0].aliases if found else {}
        versions = {number: client.get_model_version(NAME, number) for number in aliases.values()}
        runs = {number: client.get_run(version.run_id) for number, version in versions.items()}
    except FAILURES as error:
        store = without_password(address)
        raise UserError(f"{store}: MLflow does not tell which model is the champion: {reason_of(error)}") from None
    return [
        Champion(
            title=f"version {number} ({', '.join(sorted(name for name, its in aliases.items() if its == number))})",
            run=version.run_id,
            model=version.tags.get(MODEL),
            experiment=runs[number].data.tags.get("dvc.exp"),
        )
        for number, version in versions.items()
    ]


def find_unneeded(address: str, needed: Sequence[Champion], revisions: Sequence[Mapping[str, float]]) -> Unneeded:
    """What no revision and no champion needs.

    A run belongs to a revision if none of its figures differs from the revision's. One that still runs stays.

    Args:
        address: of the store.
        needed: as `champions` returns them.
        revisions: figures of each revision, by the names that they have in MLflow.

    Raises:
        UserError: a champion's run lies in MLflow's trash, which would be emptied.
    """
    client = mlflow.MlflowClient(address)
    experiments = client.search_experiments(view_type=ViewType.ALL)
    places = [experiment.experiment_id for experiment in experiments]
    gone = [experiment for experiment in experiments if experiment.lifecycle_stage == "deleted"]
    trash = _runs(client, places, ViewType.DELETED_ONLY)
    runs = _runs(client, [one.experiment_id for one in gone], ViewType.ACTIVE_ONLY) if gone else []
    for champion in needed:
        if champion.run in {run.info.run_id for run in [*trash, *runs]}:
            raise UserError(
                f"the run of {NAME} {champion.title} is deleted in MLflow, and would go for ever: restore it "
                f"(mlflow runs restore --run-id {champion.run}), or take its alias away"
            )
    ours = [one.experiment_id for one in experiments if one.name == EXPERIMENT and one not in gone]
    active = _runs(client, ours, ViewType.ACTIVE_ONLY) if ours else []
    registered = _versions(client)  # somebody registered the others by hand
    wanted = {version.run_id for version in registered if version.aliases or version.name != NAME}
    going = [
        run
        for run in active
        if run.info.run_id not in wanted
        and run.info.status not in RUNNING
        and not any(_belongs(run, figures) for figures in revisions)
    ]
    identities = {run.info.run_id for run in [*going, *trash, *runs]}
    versions = [
        version
        for version in registered
        if version.name == NAME and version.run_id in identities and not version.aliases
    ]
    served = {version.source for version in registered if version not in versions}
    models = [
        model
        for model in _models(client, places)
        if model.source_run_id in identities and f"models:/{model.model_id}" not in served
    ]
    return Unneeded(
        runs=going,
        versions=versions,
        models=models,
        trash=len(trash) + len(gone),
        kept=len(active) - len(going),
        bytes=sum(map(_size, [*(run.info.artifact_uri for run in [*going, *trash, *runs]), *map(_place, models)])),
    )


def remove(address: str, unneeded: Unneeded) -> None:
    """Deletes it, and empties MLflow's trash.

    How many networks the champion was chosen from stays known: the number of those that go is kept in a tag.
    """
    client = mlflow.MlflowClient(address)
    going = {version.version for version in unneeded.versions}
    networks = {version.tags.get(MODEL, version.version) for version in unneeded.versions}
    networks -= {
        each.tags.get(MODEL, each.version)
        for each in _versions(client)
        if each.name == NAME and each.version not in going
    }
    if unneeded.versions:
        before = int(client.get_registered_model(NAME).tags.get(REMOVED_NETWORKS, 0))
        client.set_registered_model_tag(NAME, REMOVED_NETWORKS, str(before + len(networks)))
    for version in unneeded.versions:
        client.delete_model_version(NAME, version.version)
    for model in unneeded.models:
        client.delete_logged_model(model.model_id)
    for run in unneeded.runs:
        client.delete_run(run.info.run_id)
    command = ["mlflow", "gc", "--backend-store-uri", address, "--tracking-uri", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    if done.returncode:
        reason = textwrap.shorten(done.stderr, LONGEST)
        raise UserError(f"mlflow gc failed, so what was deleted still takes room: {reason}")


def _belongs(run: Run, figures: Mapping[str, float]) -> bool:
    """Whether a run is a revision's: it has been trained, and no figure of both differs."""
    common = run.data.metrics.keys() & figures.keys()
    return "train/epochs" in common and all(run.data.metrics[name] == figures[name] for name in common)


def _runs(client: mlflow.MlflowClient, places: Sequence[str], view: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(list(places), run_view_type=view, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _versions(client: mlflow.MlflowClient) -> list[ModelVersion]:
    versions: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(page_token=token)
        versions += [client.get_model_version(found.name, found.version) for found in page]  # a search tells no aliases
        token = page.token
        if not token:
            return versions


def _models(client: mlflow.MlflowClient, places: Sequence[str]) -> list[LoggedModel]:
    models: list[LoggedModel] = []
    token = None
    while True:
        page = client.search_logged_models(list(places), page_token=token)
        models += page
        token = page.token
        if not token:
            return models


def _place(model: LoggedModel) -> str:
    return str(model.artifact_location)


def _size(address: str) -> int:
    """Bytes in a folder of this machine; 0 if the address is none."""
    parts = urlsplit(address)
    folder = Path(unquote(parts.path))
    if parts.scheme not in ("", "file") or not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
