"""An MLflow server that goes away in the middle of a stage, and is back for the next `dvc repro`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from torture.faults import Kind, Outcome, Scene, clear_line, compare_runs, judge, runs, unfinished_runs, warnings
from torture.workspaces import AT_END, Base

STAGES = ("train", "evaluate", "export", "project")  # those that call MLflow
ATTEMPTS = 6
MOST_REQUESTS = 40  # about as many as a stage sends
WAYS = ("refuses", "hangs", "answers HTTP 500")
START_SECONDS = 300
ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Stands before the server, and hands on what is said, until a request of a given number.

    Attributes:
        asked: how many requests came, about: pieces of what the client sent.
        last: with this request the server is gone; None: with none.
        way: what becomes of requests then; see `WAYS`.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.asked, self.last, self.way = 0, None, WAYS[0]
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def address(self) -> str:
        """Of the server, as its clients know it."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def gone(self) -> bool:
        """Whether the server is gone."""
        return self.last is not None and self.asked >= self.last

    def set(self, last: int | None, way: str = WAYS[0]) -> None:
        """Counts anew, and chooses when the server will go."""
        self.last, self.way, self.asked = last, way, 0

    def _listen(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as server:
            threading.Thread(target=self._answer, args=[server, client], daemon=True).start()
            while said := client.recv(2**16):
                self.asked += 1
                if self.gone:
                    break
                server.sendall(said)
            if self.gone and self.way == "answers HTTP 500":
                client.sendall(ERROR)
            while self.gone and self.way == "hangs":
                time.sleep(0.1)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(2**16):
                if self.gone:
                    return
                client.sendall(said)
            client.shutdown(socket.SHUT_WR)


def start(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a server on this machine alone; its process and its port."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            words, env=os.environ | quiet, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(requests.ConnectionError):
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=10).ok:
                return process, port
        time.sleep(0.5)
    raise RuntimeError((folder / "log").read_text())


def empty(port: int) -> None:
    """Removes all runs and the registered model."""
    api = f"http://127.0.0.1:{port}/api/2.0/mlflow"
    found = requests.get(f"{api}/experiments/get-by-name", {"experiment_name": "kws"}, timeout=60)
    if found.ok:
        identity = found.json()["experiment"]["experiment_id"]
        there = requests.post(f"{api}/runs/search", json={"experiment_ids": [identity]}, timeout=60).json()
        for run in there.get("runs", ()):
            requests.post(f"{api}/runs/delete", json={"run_id": run["info"]["run_id"]}, timeout=60).raise_for_status()
    requests.delete(f"{api}/registered-models/delete", json={"name": "kws"}, timeout=60)


@contextmanager
def ready(base: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """An MLflow server with an empty store, on this machine alone."""
    folder = base.stores.parent / "server"
    process, port = start(folder)
    proxy = Proxy(port)
    try:
        yield lambda scene: go_away(scene, proxy, folder, port)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # else it waits for connections that hang
        process.wait()


def go_away(scene: Scene, proxy: Proxy, folder: Path, port: int) -> Outcome:
    """The server goes with a request drawn by lot. The stage goes on, and `dvc repro` records what was missed."""
    way = WAYS[scene.number % len(WAYS)]
    last = round(MOST_REQUESTS ** scene.draw.random())
    for attempt in range(ATTEMPTS):
        empty(port)
        project = scene.workspace(*dict.fromkeys([scene.stage, "project"]))
        project.environment["MLFLOW_TRACKING_URI"] = proxy.address
        proxy.set(max(1, last // 2**attempt), way)
        code, printed = project.try_to("dvc", "repro", "--single-item", scene.stage)
        asked, gone = proxy.asked, proxy.gone
        what = f"the server {way} from request {proxy.last} on"
        proxy.set(None)
        if not gone and not code:
            continue
        said = warnings(printed)
        if code or "Traceback" in printed or len(said) > 1:
            return Outcome(what, "unexplained", f"exit code {code}: {clear_line(printed) or printed[-2000:]}")
        outcome = judge(scene, project, what, said="; ".join(said) or f"nothing: {asked} requests were enough")
        if outcome.ended == "unexplained":
            return outcome
        lost = "; ".join(compare_runs(runs(scene.base.stores / AT_END), runs(folder)))
        left = unfinished_runs(folder)
        told = f"{outcome.said}{f'; unfinished runs in MLflow: {left}' if left else ''}"
        return Outcome(what, "unexplained" if lost else outcome.ended, lost or told)
    return Outcome("none", "unexplained", f"the stage ended before the server went, in {ATTEMPTS} attempts")


KINDS = [Kind("MLflow gone", lambda tries: dict.fromkeys(STAGES, -(-tries // 4)), ready, alone=True)]
