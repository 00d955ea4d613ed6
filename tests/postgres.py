"""A PostgreSQL server for tests: in a folder of its own, on 127.0.0.1, gone in the end."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # Debian; elsewhere they are in PATH
USER, PASSWORD = "sweeper", "well kept"


def missing() -> str:
    """Why there can be no server; empty: there can."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "needs psycopg"
    return "" if program("initdb") and program("postgres") else "needs PostgreSQL (Debian: postgresql)"


@contextmanager
def server() -> Iterator[str]:
    """Yields the address of an empty database, postgresql://user:password@127.0.0.1:port/kws."""
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    run, owner = _unprivileged()
    shutil.chown(folder, owner)
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    data, port = folder / "data", _free_port()
    try:
        initdb = [*run, program("initdb"), "--pgdata", data, "--username", USER, "--pwfile", password]
        subprocess.run([*initdb, "--auth", "scram-sha-256", "--no-sync"], check=True, capture_output=True, cwd=folder)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        control = [*run, program("pg_ctl"), "--pgdata", data, "--wait"]
        started = [*control, "--log", folder / "log", "--options", options, "start"]
        subprocess.run(started, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        try:
            create = [program("createdb"), "--host", "127.0.0.1", "--port", str(port), "--username", USER, "kws"]
            subprocess.run(create, check=True, env=os.environ | {"PGPASSWORD": PASSWORD}, capture_output=True)
            yield f"postgresql://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/kws"
        finally:
            stopped = [*control, "--mode", "immediate", "stop"]
            subprocess.run(stopped, check=True, capture_output=True, cwd=folder)
    finally:
        shutil.rmtree(folder)


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is."""
    return shutil.which(name, path=os.pathsep.join([*map(str, reversed(PROGRAMS)), os.environ["PATH"]]))


def _unprivileged() -> tuple[list[str], str]:
    """What runs a command as somebody else than root, which PostgreSQL refuses; and who that is."""
    if os.geteuid():
        return [], pwd.getpwuid(os.geteuid()).pw_name
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"], "nobody"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
