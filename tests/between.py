"""A server for tests that stands between a client and another one, and can be down, slow, or say no."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


class Between(ThreadingHTTPServer):
    """Passes requests on to another server of this machine.

    Attributes:
        status: answers with this status instead, those of `methods`.
        delay: s before it answers what has `slow` in its path.
        paths: the path of each request.
        done: of those that have got their answer, or that nobody waits for any more.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((HOST, 0), _Handler)
        self.behind = port
        self.paths: list[str] = []
        self.done: list[str] = []
        self.pass_on()

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}"

    def pass_on(self) -> None:
        self.status, self.methods, self.delay, self.slow = None, frozenset[str](), 0.0, ""

    def say(self, status: int, *methods: str) -> None:
        self.status, self.methods = status, frozenset(methods or ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"))

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not wait any more is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def handle_request(self) -> None:
        self.server.paths.append(self.path)
        try:
            self.pass_on(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        finally:
            self.server.done.append(self.path)

    def pass_on(self, body: bytes) -> None:
        if self.server.slow in self.path:
            time.sleep(self.server.delay)
        if self.server.status and self.command in self.server.methods:
            self.answer(self.server.status, {}, b"<Error><Code>NoSpace</Code><Message>no</Message></Error>")
            return
        there = http.client.HTTPConnection(HOST, self.server.behind, timeout=120)
        try:
            headers = {name: value for name, value in self.headers.items() if name not in ("Connection", "Expect")}
            there.request(self.command, self.path, body, headers)
            found = there.getresponse()
            self.answer(found.status, dict(found.getheaders()), found.read())
        except OSError:
            self.answer(502, {}, b"nobody is behind")
        finally:
            there.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = headers.get("Content-Length", headers.get("content-length"))
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_request  # noqa: N815 (http.server's names)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def between(port: int) -> Iterator[Between]:
    """A server before the one on this port."""
    server = Between(port)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
