"""How long MLflow is waited for, and what a store that cannot be used says, in one line."""

import os
import re
import textwrap

from kws.core.address import public_address
from kws.core.errors import UserError

ADDRESS = "MLFLOW_TRACKING_URI"
# What MLflow reads: seconds for an answer, and how often a request is sent again. The stages are quick to go on; a
# person who asks for something has patience
QUICK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
LONGEST = 300  # characters


class RefusedRunError(UserError):
    """MLflow answers, and does not take this run: it may take others."""


def is_of_run(error: BaseException) -> bool:
    """Whether a server refuses what a run has, such as a name that is too long."""
    return getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


def status_of(error: BaseException) -> int | None:
    """The status of HTTP with which a server refused; None if it did not, or said another one than 401 and 403."""
    # MLflow's own errors have a name; those of its artifacts are errors of requests
    named = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}.get(getattr(error, "error_code", ""))
    status = getattr(getattr(error, "response", None), "status_code", None)
    return named or (status if status in (401, 403) else None)


def reason_of(error: BaseException) -> str:
    """The reason in one line, without credentials, and what to do about it where that is known."""
    address = os.environ.get(ADDRESS, "")
    server = public_address(address)
    if status_of(error) == 401:
        return (
            f"{server} does not know this name and password: give yours in MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or in ~/.mlflow/credentials (docs/server.md)"
        )
    if status_of(error) == 403:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "this user")
        return f"{server} does not allow it to {user}: its administrator gives the permission EDIT (docs/server.md)"
    text = str(error) or repr(error)
    if cause := re.search(r"\(Caused by [^'\"]*(['\"])(.*)\1\)+", text):  # the innermost error of a connection
        text = f"{server} does not answer: {cause[2]}"
    return textwrap.shorten(text.replace(address, server) if address else text, LONGEST)
