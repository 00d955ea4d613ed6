"""The page of `kws review`: shows what was kept, plays it, and takes the answers of people on this machine."""

import base64
import io
import json
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import soundfile

from kws.audio.mel import mel_matrix
from kws.core.errors import UserError
from kws.core.naming import BACKGROUND, UNKNOWN
from kws.kept.folder import BETWEEN, KeptFolder
from kws.web.page import HOST

FRAME_SECONDS, HOP_SECONDS, MEL_BINS, LOWEST_HZ = 0.025, 0.01, 64, 50.0  # of the picture; models have their own
DYNAMICS_DB = 70.0  # below the loudest point of a picture all is black
MOST_ANSWER_BYTES = 10_000


def spectrogram(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """A picture of a sound: the level in Mel bands, uint8 (frames, MEL_BINS), 255 at its loudest point.

    Args:
        sound: float32 (samples,).
        sample_rate: in Hz.
    """
    length, hop = round(FRAME_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    fft = 1 << (2 * length - 1).bit_length()  # a long one, so that no Mel band is without a bin
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (length // 2, length - length // 2)), length)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(length), fft)))
    levels = 10 * np.log10(power @ mel_matrix(sample_rate, fft, MEL_BINS, LOWEST_HZ, sample_rate / 2) + 1e-12)
    return (255 * np.clip(1 + (levels - levels.max()) / DYNAMICS_DB, 0, 1)).round().astype(np.uint8)


def serve_review(folder: KeptFolder, port: int) -> None:
    """Shows the page to browsers on this machine until it is interrupted; port 0: any that is free.

    Raises:
        UserError: there is nothing to show, or the port is taken.
    """
    rows = folder.rows()
    here = sum((folder.path / row.file).is_file() for row in rows)
    if not here:
        raise UserError(f"{folder.path}: no sound in it; kws listen --keep {folder.path} keeps some")
    try:
        server = ThreadingHTTPServer((HOST, port), partial(_Handler, folder))
    except OSError as error:
        raise UserError(f"port {port}: {error.strerror}; choose another one: --port …") from None
    gone = f"; {len(rows) - here} more are gone" if here < len(rows) else ""
    with server:
        print(f"http://{HOST}:{server.server_port}  {here} sounds{gone}; Ctrl-C stops", flush=True)
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """Answers with the page, the rows and the sounds, and takes answers. Errors of one request end that one alone."""

    protocol_version = "HTTP/1.1"

    def __init__(self, folder: KeptFolder, *arguments: Any) -> None:
        self._folder = folder
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if self._is_elsewhere():
            return
        path = unquote(urlsplit(self.path).path)
        name = PurePosixPath(path).name
        try:
            if path == "/":
                self._send(files("kws.kept").joinpath("static", "review.html").read_bytes(), "text/html; charset=utf-8")
            elif path == "/kept.json":
                self._send(json.dumps(self._kept()).encode(), "application/json")
            elif path == f"/sounds/{name}" and name in {row.file for row in self._folder.rows()}:
                self._send(json.dumps(_sound((self._folder.path / name).read_bytes())).encode(), "application/json")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)
        except FileNotFoundError:  # dropped, since kws listen --keep goes on
            self.send_error(HTTPStatus.NOT_FOUND)
        except (soundfile.LibsndfileError, UserError) as error:
            self._send(str(error).encode(), "text/plain; charset=utf-8", HTTPStatus.INTERNAL_SERVER_ERROR)

    def do_POST(self) -> None:
        """Takes an answer: JSON with `file` and `answer`. Pages elsewhere cannot send this type unasked (CORS)."""
        if self._is_elsewhere():
            return
        length = self.headers.get("Content-Length", "")
        if (self.path, self.headers.get("Content-Type")) != ("/answers", "application/json"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        if not length.isdecimal() or int(length) > MOST_ANSWER_BYTES:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        try:
            given = json.loads(self.rfile.read(int(length)))
            file, answer = given["file"], given["answer"]
            if answer not in {"", UNKNOWN, BACKGROUND, *self._words()}:
                raise ValueError(answer)  # noqa: TRY301 (as the other wrong requests)
            self._folder.set_answer(file, answer)
        except (ValueError, TypeError, KeyError):
            self.send_error(HTTPStatus.BAD_REQUEST)
        except UserError as error:
            self._send(str(error).encode(), "text/plain; charset=utf-8", HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            self._send(b"{}", "application/json")

    def _kept(self) -> dict[str, Any]:
        rows = [vars(row) for row in self._folder.rows() if (self._folder.path / row.file).is_file()]
        about = {"folder": str(self._folder.path), "unknown": UNKNOWN, "background": BACKGROUND}
        return {**about, "words": self._words(), "rows": rows}

    def _words(self) -> list[str]:
        """All words that the models tell which have heard the sounds."""
        return sorted({word for row in self._folder.rows() for word in row.words.split(BETWEEN)})

    def _is_elsewhere(self) -> bool:
        """Refuses another name that leads here: it is of a page elsewhere that wants to hear this (DNS rebinding)."""
        if self.headers.get("Host", "").partition(":")[0] in (HOST, "localhost"):
            return False
        self.send_error(HTTPStatus.FORBIDDEN, f"this page is at {HOST} alone")
        return True

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")  # the rest stands in review.html
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing: the browser shows what went wrong."""


def _sound(content: bytes) -> dict[str, Any]:
    """What the page plays and draws of a FLAC file: itself, its length in seconds, and its picture frame by frame."""
    sound, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    levels = spectrogram(sound, rate)
    flac, picture = (base64.b64encode(data).decode() for data in (content, levels.tobytes()))
    return {"flac": flac, "seconds": len(sound) / rate, "bins": MEL_BINS, "frames": len(levels), "levels": picture}
