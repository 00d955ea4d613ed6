"""The page that records with a browser's microphone, on this machine or a phone. Takes are checked and kept here."""

import ipaddress
import json
import secrets
import socket
import ssl
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from kws.core.errors import UserError
from kws.record.checks import COUNT_SECONDS, COUNTS, SAMPLE_RATE
from kws.record.takes import Plan
from kws.web.page import TYPES

OF_WEB = ("page.css", "microphone.js", "resampler.js", "worklet.js")  # files that the page of `kws web` has, too
CODE = "abcdefghjkmnpqrstuvwxyz23456789"  # no two of these look alike
CODE_LENGTH = 10
CERTIFICATE_DAYS = 7  # it is made anew at each start
SAMPLE_BYTES = 4  # float32, little endian: what browsers send
EVERYWHERE = "0.0.0.0"  # noqa: S104 (the user asks for it)


def serve(plan: Plan, speaker: str, host: str, port: int) -> None:
    """Shows the page until it is interrupted.

    Args:
        plan: what is wanted, and where it is kept.
        speaker: whose name stands on the page at first; may be "".
        host: an address of this machine, or EVERYWHERE. From other machines browsers give the microphone over https
            alone, so there is a certificate then.
        port: 0: any that is free.

    Raises:
        UserError: the address is not one of this machine, or the port is taken; or no certificate can be made.
    """
    code = "".join(secrets.choice(CODE) for _ in range(CODE_LENGTH))
    shown = _own_address() if host == EVERYWHERE else host
    context, fingerprint = (None, "") if _is_this_machine(host) else _certificate(shown)
    settings = {
        "rate": SAMPLE_RATE,
        "counts": COUNTS,
        "count_samples": round(COUNT_SECONDS * SAMPLE_RATE),
        "speaker": speaker,
    }
    try:
        server = _Server((host, port), partial(_Handler, plan, code, _content(settings)))
    except OSError as error:
        raise UserError(f"host {host}, port {port}: {error.strerror}; choose another one: --host …, --port …") from None
    if context:
        # The handshake comes with the first byte that is read, in the thread of the connection: none holds up others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with server:
        print(f"http{'s' if context else ''}://{shown}:{server.server_port}/{code}/  Ctrl-C stops", flush=True)
        if context:
            print(
                "On the phone, in the same network: it warns that the connection is not private, since this machine "
                f"made the certificate itself.\nChoose Details or Advanced, then go on. SHA-256: {fingerprint}\n"
                f"Whoever knows the address can record into {plan.folder}, until Ctrl-C.",
                flush=True,
            )
        server.serve_forever()


def _content(settings: dict[str, Any]) -> dict[str, bytes]:
    own = {file.name: file.read_bytes() for file in files("kws.record").joinpath("static").iterdir()}
    web = {name: files("kws.web").joinpath("static", name).read_bytes() for name in OF_WEB}
    return {**own, **web, "settings.json": json.dumps(settings).encode()}


def _is_this_machine(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _own_address() -> str:
    """The address that this machine has in its network."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # an address of nobody (RFC 5737); nothing is sent
            return str(probe.getsockname()[0])
    except OSError as error:
        raise UserError(f"host {EVERYWHERE}: {error.strerror}; give the address of this machine: --host …") from None


def _certificate(host: str) -> tuple[ssl.SSLContext, str]:
    """A certificate for an address or a name, signed by itself, and its SHA-256."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise UserError(
            f"host {host}: browsers there ask for https, and a certificate needs the package cryptography: "
            "pip install 'kws[record]'"
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kws record")])
    subject = x509.IPAddress(ipaddress.ip_address(host)) if _is_address(host) else x509.DNSName(host)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = serialization.Encoding.PEM
    with tempfile.NamedTemporaryFile() as file:  # for a moment, which nobody else may read: ssl takes files alone
        file.write(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(pem)
        )
        file.flush()
        context.load_cert_chain(file.name)
    return context, certificate.fingerprint(hashes.SHA256()).hex(":").upper()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a browser that goes, or does not trust the certificate
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers below the code alone: with the files of the page, what is to be said, and what a take is like."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # s, for a request

    def __init__(self, plan: Plan, code: str, content: dict[str, bytes], *arguments: Any) -> None:
        self._plan, self._code, self._content = plan, code, content
        super().__init__(*arguments)

    def do_GET(self) -> None:
        name, query = self._asked()
        if name == "todo":
            self._answer_with(lambda: self._todo(query))
        elif name in self._content:
            self._send(HTTPStatus.OK, TYPES[PurePosixPath(name).suffix], self._content[name])
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing is here")

    def do_POST(self) -> None:
        name, query = self._asked()
        if name not in ("check", "keep"):
            self.close_connection = True  # what follows is not read
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing is here")
        else:
            self._answer_with(lambda: self._take(query, keep=name == "keep"))

    def _asked(self) -> tuple[str, dict[str, str]]:
        """The name behind the code, and the query; "" if the code is wrong."""
        path, _, query = self.path.partition("?")
        code, _, name = path.lstrip("/").partition("/")
        if not secrets.compare_digest(code.encode(), self._code.encode()):
            return "", {}
        return name or "index.html", {key: values[0] for key, values in parse_qs(query).items()}

    def _todo(self, query: dict[str, str]) -> dict[str, Any]:
        speaker = self._plan.speaker(query.get("speaker", ""))
        return {"speaker": speaker, "todo": [asdict(prompt) for prompt in self._plan.todo(speaker)]}

    def _take(self, query: dict[str, str], *, keep: bool) -> dict[str, Any]:
        """Checks a take, and keeps it if that is wanted.

        Raises:
            UserError: nobody wants it, it has another length or ends early, or it cannot be written.
        """
        self.close_connection = True  # unless all of it is read
        speaker, word = self._plan.speaker(query.get("speaker", "")), query.get("word", "")
        wanted = next((prompt for prompt in self._plan.todo(speaker) if prompt.word == word), None)
        if wanted is None:
            raise UserError(f"{word}: no take of it by {speaker} is wanted")
        if self.headers.get("Content-Length") != str(SAMPLE_BYTES * wanted.samples):
            raise UserError(f"{word}: a take has {wanted.samples} samples")
        data = self.rfile.read(SAMPLE_BYTES * wanted.samples)
        if len(data) < SAMPLE_BYTES * wanted.samples:
            raise UserError(f"{word}: the connection ended before the take")
        samples = np.frombuffer(data, "<f4")
        self.close_connection = False
        if not np.isfinite(samples).all():
            raise UserError(f"{word}: samples that are not numbers")
        checked = self._plan.check(word, samples)
        if not keep:
            return asdict(checked)
        if checked.start == checked.end:
            raise UserError(f"{word}: nothing to keep: {checked.problems[0]}")
        try:
            path = self._plan.keep(word, speaker, samples[checked.start : checked.end])
        except OSError as error:
            raise UserError(f"{self._plan.folder}: {error.strerror}") from None
        print(f"{path}  {'; '.join(checked.problems) or checked.about}", flush=True)
        return {"path": str(path)}

    def _answer_with(self, content: Any) -> None:
        """Sends the JSON that a function returns, or the text of its error."""
        try:
            data = json.dumps(content()).encode()
        except UserError as problem:
            self._send(HTTPStatus.BAD_REQUEST, "text/plain", str(problem).encode())
        else:
            self._send(HTTPStatus.OK, "application/json", data)

    def _send(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")  # the address holds the code
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")  # the rest stands in index.html
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Says nothing: the browser shows what went wrong."""
