"""A download from a server that cuts, lies, or breaks off."""

import hashlib
import io
import re
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from checkout import Project

from torture.faults import Kind, Outcome, Scene, clear_line, judge
from torture.workspaces import Base, environment

STAGE = "download"
VERSION = '"1"'  # the ETag
SPOKEN = ("no", "yes")
OTHERS = 20  # other words, so that no computed voice need say some
PEOPLE = 40


class Server(ThreadingHTTPServer):
    """Serves one file, with ranges, as `lie` has it.

    Attributes:
        content: the file.
        asked: the requests, from 0 on, by the byte from which on they ask.
        lie: how a request is answered; set anew for each fault. None: rightly.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = content
        self.asked: list[int] = []
        self.lie: Callable[[Answer, int, int], bool] | None = None

    @property
    def address(self) -> str:
        """Of the file."""
        return f"http://127.0.0.1:{self.server_port}/words.tar"

    def handle_error(self, *_: object) -> None:
        """A client may have broken off: that is what is tried here."""


class Answer(BaseHTTPRequestHandler):
    """Answers a request."""

    server: Server

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.headers.get("If-Range", VERSION) == VERSION else 0
        number = len(self.server.asked)
        self.server.asked.append(start)
        if not (self.server.lie and self.server.lie(self, number, start)):
            self.send(start)

    def send(  # noqa: PLR0913 (each is a way to lie)
        self,
        start: int,
        *,
        said: int | None = None,
        announced: int | None = None,
        most: int | None = None,
        content: bytes | None = None,
        partial: bool | None = None,
    ) -> None:
        """Sends the file from a byte on.

        Args:
            start: the first byte.
            said: the first byte that is told; None: that one.
            announced: the length that is told; None: the right one.
            most: after so many bytes the connection is cut.
            content: of the file; None: the right one.
            partial: whether it is told to be a part; None: where it is one.
        """
        body = (self.server.content if content is None else content)[start:]
        total, first = len(self.server.content), start if said is None else said
        partial = start > 0 if partial is None else partial
        self.send_response(206 if partial else 200)
        self.send_header("ETag", VERSION)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        self.end_headers()
        self.wfile.write(body[:most])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def archive() -> bytes:
    """Recordings in an archive: noise, a tenth of a second each."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        for word in (*SPOKEN, *(f"other{number}" for number in range(OTHERS))):
            for person in range(PEOPLE):
                name = f"{word}/{person:08x}_nohash_0.wav"
                samples = hashlib.shake_256(name.encode()).digest(400)
                member = tarfile.TarInfo(name)
                header = b"RIFF" + (36 + len(samples)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
                header += b"\1\0\1\0" + (4000).to_bytes(4, "little") + (8000).to_bytes(4, "little") + b"\2\0\x10\0"
                data = header + b"data" + len(samples).to_bytes(4, "little") + samples
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@contextmanager
def served() -> Iterator[Server]:
    """A server of the archive, on this machine alone."""
    with Server(archive()) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def downloaded(folder: Path, server: Server) -> Base:
    """A project in which nothing but the first two stages has run, with recordings from this server."""
    project = Project.create(folder / "project", environment(folder))
    digest = hashlib.sha256(server.content).hexdigest()
    project.set(dataset=server.address, dataset_sha256=digest, words=list(SPOKEN))
    stages = yaml.safe_load((project.root / "dvc.yaml").read_text())["stages"]
    kept = {name: stages[name] for name in ("watch", STAGE)}
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}, sort_keys=False))
    project.run("dvc", "repro")
    project.commit()
    return Base(project, folder / "stores", {})


def fault(scene: Scene, base: Base, server: Server, what: str, *, may_fail: bool) -> Outcome:
    """Downloads from a server that lies, then from one that does not."""
    scene = replace(scene, base=base)
    project = scene.workspace()
    for file in (project.root / ".scratch/downloads").glob("*"):
        file.unlink()
    server.asked.clear()
    code, printed = project.try_to("dvc", "repro", "--single-item", STAGE)
    server.lie = None
    said = clear_line(printed)
    if "Traceback" in printed or (code and not (said and may_fail)):
        return Outcome(what, "unexplained", f"exit code {code}: {printed[-2000:]}")
    if not server.asked:
        return Outcome(what, "unexplained", "the server was not asked")
    return judge(scene, project, what, said=said)


def cut(scene: Scene, base: Base, server: Server) -> Outcome:
    """Cuts the first connection, or every fourth time each of them, after so many bytes: a grid over the file."""
    size, each = len(server.content), scene.number % 4 == 3
    most = round(size * (scene.number + scene.draw.random()) / scene.of)

    def answer(answer: Answer, number: int, start: int) -> bool:
        if number and not each:
            return False
        answer.send(start, most=most)
        return True

    server.lie = answer
    which = "each connection" if each else "the connection"
    what = f"{which} cut after {most:,} of {size:,} bytes"
    outcome = fault(scene, base, server, what, may_fail=each)
    return outcome if len(server.asked) > 1 else Outcome(what, "unexplained", "nothing was asked for again")


LIES = {
    "another part than was asked for, and told": lambda answer, start: answer.send(start // 2, partial=True),
    "another part than was asked for, told as the right one": lambda answer, start: answer.send(start // 2, said=start),
    "the whole file, told as the part": lambda answer, start: answer.send(0, said=start, partial=True),
    "the whole file": lambda answer, _: answer.send(0),
    "a length that is too small": lambda answer, start: answer.send(start, announced=1000),
    "a length that is too large": lambda answer, start: answer.send(start, announced=10**9),
    "a wrong byte": lambda answer, start: answer.send(start, content=_wrong(answer.server.content, start)),
    "other bytes of the same length": lambda answer, start: answer.send(
        start, content=bytes(len(answer.server.content))
    ),
    "a page in place of the file": lambda answer, _: answer.send(0, content=b"<html>sign in</html>", partial=False),
    "nothing": lambda answer, start: answer.send(start, announced=0, most=0),
    "HTTP 416": lambda answer, _: answer.send_error(416),
    "HTTP 500": lambda answer, _: answer.send_error(500),
    "HTTP 404": lambda answer, _: answer.send_error(404),
}


def _wrong(content: bytes, start: int) -> bytes:
    """The file with a wrong byte in the middle of what is asked for."""
    middle = (start + len(content)) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def lie(scene: Scene, base: Base, server: Server) -> Outcome:
    """Cuts the connection, and answers what is asked for then with a lie; or lies to each request."""
    what, each = list(LIES)[scene.number % len(LIES)], scene.number >= len(LIES)
    most = scene.draw.randrange(1, len(server.content))

    def answer(answer: Answer, number: int, start: int) -> bool:
        if number == 0 and not each:
            answer.send(start, most=most)
        elif number == 1 or each:
            LIES[what](answer, start)
        else:
            return False
        return True

    server.lie = answer
    told = f"each answer: {what}" if each else f"cut after {most:,} bytes, then: {what}"
    return fault(scene, base, server, told, may_fail=True)


@contextmanager
def ready(inflict: Callable[[Scene, Base, Server], Outcome], base: Base) -> Iterator[Callable[[Scene], Outcome]]:
    """A server, and a project that has its recordings from there."""
    with served() as server:
        folder = base.stores.parent / f"network-{server.server_port}"
        shutil.rmtree(folder, ignore_errors=True)
        there = downloaded(folder, server)
        yield lambda scene: inflict(scene, there, server)
        shutil.rmtree(folder)


KINDS = [
    Kind("network cut", lambda tries: {STAGE: 2 * tries}, partial(ready, cut), alone=True),
    Kind("server lies", lambda tries: {STAGE: min(2 * tries, 2 * len(LIES))}, partial(ready, lie), alone=True),
]
