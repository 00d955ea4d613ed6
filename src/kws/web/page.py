"""The page as files, for any static host, and a server of it for this machine."""

import json
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from kws.core.errors import UserError
from kws.core.files import written_whole
from kws.web.litert_js import litert_js

HOST = "127.0.0.1"  # this machine alone; browsers give the microphone to it without https
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".tflite": "application/octet-stream",
    ".wasm": "application/wasm",  # browsers compile no other type while it arrives
}


def page(model: bytes, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of the page, by their path.

    Args:
        model: a LiteRT file that takes a waveform.
        settings: what page.js has to know, as JSON: see `kws.spotting.cli.web`.

    Raises:
        UserError: LiteRT.js is not to be had.
    """
    own = {file.name: file.read_bytes() for file in files("kws.web").joinpath("static").iterdir()}
    described = json.dumps(settings, ensure_ascii=False, indent=1).encode()
    return {**own, **litert_js(), "model.tflite": model, "kws.json": described}


def write_page(content: Mapping[str, bytes], folder: Path) -> None:
    """Writes the files of the page into a folder, and leaves others there as they are.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        for name, data in content.items():
            with written_whole(folder / name) as file:
                file.write_bytes(data)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None


def serve_page(content: Mapping[str, bytes], port: int) -> None:
    """Shows the page to browsers on this machine until it is interrupted; port 0: any that is free.

    Raises:
        UserError: the port is taken.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), partial(_Handler, content))
    except OSError as error:
        raise UserError(f"port {port}: {error.strerror}; choose another one: --port …") from None
    with server:
        print(f"http://{HOST}:{server.server_port}  Ctrl-C stops", flush=True)
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """Answers with the files of the page, and with nothing else."""

    protocol_version = "HTTP/1.1"

    def __init__(self, content: Mapping[str, bytes], *arguments: Any) -> None:
        self._content = content
        super().__init__(*arguments)

    def do_GET(self) -> None:
        # Another name that leads here is a page elsewhere that wants to read the model (DNS rebinding).
        if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, f"this page is at {HOST} alone")
            return
        name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        data = self._content.get(name)
        if data is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES[PurePosixPath(name).suffix])
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")  # the model may be another one the next time
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")  # the rest stands in index.html
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Says nothing: the browser shows what went wrong."""
