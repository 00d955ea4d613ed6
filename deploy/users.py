#!/usr/bin/env python3
"""Adds and removes the server's users: users.py add ada; users.py password ada; users.py remove ada.

The administrator's name and password come from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, the address from
MLFLOW_TRACKING_URI. MLFLOW_TRACKING_SERVER_CERT_PATH is the file of a certificate that nobody else knows. A new
password is made and printed once.
"""

import base64
import json
import os
import secrets
import ssl
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def ask(method: str, path: str, **content: str) -> None:
    """Sends a request; ends the program with a line if the server refuses it or does not answer."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000").rstrip("/")
    name, password = (os.environ.get(f"MLFLOW_TRACKING_{what}", "") for what in ("USERNAME", "PASSWORD"))
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
    url = f"{address}/api/2.0/mlflow/users/{path}"
    request = Request(url, json.dumps(content).encode(), headers, method=method)  # noqa: S310 (the user's address)
    trusted = ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"))
    try:
        with urlopen(request, timeout=60, context=trusted):  # noqa: S310
            pass
    except HTTPError as error:
        sys.exit(f"error: {address} refuses: {error.code} {error.read().decode(errors='replace')[:300]}")
    except OSError as error:
        sys.exit(f"error: {address} does not answer: {getattr(error, 'reason', error)}")


def main() -> None:
    """Does what the arguments say."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("add", "password", "remove"):
        sys.exit(f"error: {__doc__.splitlines()[0]}")
    what, name = sys.argv[1:]
    password = secrets.token_urlsafe(18)
    if what == "add":
        ask("POST", "create", username=name, password=password)
    elif what == "password":
        ask("PATCH", "update-password", username=name, password=password)
    else:
        ask("DELETE", "delete", username=name)
    if what != "remove":
        print(f"{name}: {password}")


if __name__ == "__main__":
    main()
