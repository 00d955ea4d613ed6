"""What a server that refuses says, in one line."""

import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, UNAUTHENTICATED

from kws.tracking.refusal import ADDRESS, reason_of, status_of


def of_artifacts(status: int) -> requests.HTTPError:
    """The error of MLflow's artifacts, which are not its own."""
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} Client Error", response=response)


def test_a_name_and_a_permission_that_are_missing_are_told_whoever_says_it(monkeypatch):
    monkeypatch.setenv(ADDRESS, "https://ada:secret@kws.example.org")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    for error in (MlflowException("no", UNAUTHENTICATED), of_artifacts(401)):
        assert status_of(error) == 401
        assert reason_of(error).startswith("https://kws.example.org does not know this name and password: give yours ")
    for error in (MlflowException("no", PERMISSION_DENIED), of_artifacts(403)):
        assert status_of(error) == 403
        assert reason_of(error) == (
            "https://kws.example.org does not allow it to ada: its administrator gives the permission EDIT "
            "(docs/server.md)"
        )
    assert status_of(of_artifacts(500)) is status_of(OSError("no")) is None


def test_the_innermost_error_of_a_connection_is_told_without_the_password_of_its_address(monkeypatch):
    monkeypatch.setenv(ADDRESS, "http://ada:secret@kws.example.org")
    outer = (
        "API request to http://ada:secret@kws.example.org/api/2.0/mlflow/runs/get failed with exception "
        "HTTPConnectionPool(host='kws.example.org', port=80): Max retries exceeded with url: /api/2.0/mlflow/runs/get "
        "(Caused by ResponseError('too many 503 error responses'))"
    )
    assert reason_of(MlflowException(outer)) == ("http://kws.example.org does not answer: too many 503 error responses")
    tls = (
        "(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
        "self-signed certificate (_ssl.c:1006)')))"
    )
    assert reason_of(MlflowException(tls)).endswith("certificate verify failed: self-signed certificate (_ssl.c:1006)")
    assert reason_of(MlflowException("API request to http://ada:secret@kws.example.org/api failed")) == (
        "API request to http://kws.example.org/api failed"
    )


def test_any_other_error_is_a_short_line(monkeypatch):
    monkeypatch.delenv(ADDRESS, raising=False)
    assert reason_of(OSError(28, "no space left")) == "[Errno 28] no space left"
    assert reason_of(KeyError()) == "KeyError()"
    long = reason_of(ValueError("word\n" * 200))
    assert len(long) <= 300
    assert "\n" not in long
