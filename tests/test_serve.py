import os
import socket

import pytest

from kws.core.errors import UserError
from kws.tracking import serve


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv(serve.ADDRESS, raising=False)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "")  # which it sets
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    commands = []
    monkeypatch.setattr(os, "execvp", lambda name, command: commands.append((name, command)))
    return commands


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind((serve.HOST, 0))
        return str(listener.getsockname()[1])


def test_the_pages_open_on_the_projects_store(here, started):
    port = free_port()
    serve.main("ui", port)
    assert started == [("mlflow", ["mlflow", "ui", "--port", port])]
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{here / 'mlflow.db'}"


@pytest.mark.usefixtures("here")
def test_the_password_of_a_database_is_in_no_argument(started, monkeypatch):
    address = "postgresql://ada:secret@127.0.0.1/mlflow"
    monkeypatch.setenv(serve.ADDRESS, address)
    serve.main("ui", free_port())
    [(_, command)] = started
    assert "secret" not in " ".join(command)
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == address


@pytest.mark.usefixtures("here")
def test_a_port_that_is_taken_is_one_line_that_says_what_to_do(started):
    with socket.socket() as other:
        other.bind((serve.HOST, 0))
        other.listen()
        port = str(other.getsockname()[1])
        with pytest.raises(UserError, match=rf"^port {port}: .*in use; choose another one: make ui PORT=…$"):
            serve.main("ui", port)
    assert not started


@pytest.mark.parametrize("target", ["ui", "serve"])
@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "no such table: experiments"), (b"damaged" * 1000, "file is not a database")]
)
def test_a_store_that_cannot_be_read_is_one_line_that_says_what_to_do(here, started, target, content, reason):
    (here / "mlflow.db").write_bytes(content)
    with pytest.raises(UserError) as refused:
        serve.main(target, free_port())
    assert str(refused.value) == (
        f"{here / 'mlflow.db'}: MLflow's store cannot be read ({reason}); if it is damaged, move it away: "
        "the next training starts a new one"
    )
    assert not started
    assert (here / "mlflow.db").read_bytes() == content


@pytest.mark.parametrize("port", ["0", "65536", "five", "-1", ""])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(UserError, match=rf"^PORT={port}: give a whole number from 1 to 65535$"):
        serve.check_port("ui", port)


def test_without_a_registered_model_there_is_nothing_to_serve(here, started):
    with pytest.raises(UserError, match=r"^no model is registered yet: run make, which registers one$"):
        serve.main("serve", free_port())
    assert not started
    assert list(here.iterdir()) == [here / ".mlflow.lock"]


@pytest.mark.usefixtures("here")
def test_the_pages_of_a_server_are_in_a_browser(started, monkeypatch, capsys):
    monkeypatch.setenv(serve.ADDRESS, "https://ada:secret@kws.example.org")
    serve.main("ui", free_port())
    assert not started
    assert capsys.readouterr().out == (
        "MLFLOW_TRACKING_URI names a server: open https://kws.example.org in a browser\n"
    )
