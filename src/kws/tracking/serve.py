"""`make ui` and `make serve`: MLflow's pages, and the server of the best registered model."""

import os
import socket
import sqlite3
import sys
from pathlib import Path

from filelock import FileLock

from kws.core import paths
from kws.core.address import public_address
from kws.core.errors import UserError
from kws.tracking.refusal import ADDRESS, PATIENT, reason_of
from kws.tracking.store import ARTIFACTS, DATABASE, LOCK, follow_project

HOST = "127.0.0.1"  # MLflow's default: this machine alone


def check_port(target: str, port: str) -> None:
    """Checks that a server can listen on a port.

    Raises:
        UserError: it is no port, or another program listens there.
    """
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"PORT={port}: give a whole number from 1 to 65535")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, int(port)))
        except OSError as error:
            raise UserError(f"port {port}: {error.strerror}; choose another one: make {target} PORT=…") from None


def check_champion() -> None:
    """Checks that a model is registered as the best one.

    Raises:
        UserError: there is none, or the store does not answer.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    from kws.tracking.registry import ALIAS, NAME

    try:
        mlflow.MlflowClient().get_model_version_by_alias(NAME, ALIAS)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(reason_of(error)) from None
        raise UserError(f"no model has the alias {ALIAS} yet: run make, which registers one ({error})") from None


def point_store(root: Path) -> None:
    """Points the project's store to the artifacts beside it: no stage may have run since the project was moved.

    Raises:
        UserError: the store cannot be read.
    """
    database = root / DATABASE
    with FileLock(root / LOCK):
        try:
            moved = database.exists() and follow_project(root)
        except sqlite3.Error as error:
            raise UserError(
                f"{database}: MLflow's store cannot be read ({error}); if it is damaged, move it away: "
                "the next training starts a new one"
            ) from None
    if moved:
        print(f"MLflow's store was made in another folder. Its artifacts are now those in {root / ARTIFACTS}")


def serving(port: str) -> list[str]:
    """The command that serves the champion. -P: the modules beside the file are no packages of the model."""
    return [sys.executable, "-P", str(Path(__file__).with_name("scoring.py")), "models:/kws@champion", port]


def main(target: str, port: str) -> None:
    """Replaces this process by MLflow's, or says where its pages are, if a server has them."""
    address = os.environ.get(ADDRESS, "")
    if target == "ui" and address.startswith(("http://", "https://")):
        print(f"{ADDRESS} names a server: open {public_address(address)} in a browser")
        return
    check_port(target, port)
    root = paths.project_root()
    store = f"sqlite:///{root / DATABASE}"
    point_store(root)
    if target == "ui":
        os.environ["MLFLOW_BACKEND_STORE_URI"] = os.environ.get(ADDRESS, store)  # a list of processes would show it
        command = ["mlflow", "ui", "--port", port]
    else:
        if ADDRESS not in os.environ and not (root / DATABASE).exists():
            raise UserError("no model is registered yet: run make, which registers one")
        for name, value in {ADDRESS: store, **PATIENT}.items():
            os.environ.setdefault(name, value)
        check_champion()
        print(f"http://{HOST}:{port}/invocations takes clips: docs/serving.md", flush=True)
        command = serving(port)
    os.execvp(command[0], command)  # noqa: S606 (no shell is what is wanted)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as problem:
        sys.exit(f"error: {problem}")
