"""Downloads files. An interrupted download is resumed. A file is accepted only if its size and checksum are right."""

import hashlib
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
from filelock import FileLock
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tqdm import tqdm
from urllib3.exceptions import HTTPError, NameResolutionError, ReadTimeoutError

from kws.core import paths
from kws.core.errors import UserError
from kws.core.files import sha256_of, written_whole

ATTEMPTS = 5
FIRST_WAIT_SECONDS = 1.0  # before the second attempt; doubles each time
CONNECT_TIMEOUT_SECONDS = 15.0
READ_TIMEOUT_SECONDS = 60.0  # without a single byte
CHUNK_BYTES = 2**16


class _TransientError(Exception):
    """A failure after which another attempt may succeed. The text is the reason."""


def fetch(url: str, target: Path, *, size: int | None = None, sha256: str | None = None) -> str:
    """Downloads or copies `url` to `target`, which is written only if size and checksum are right.

    An interrupted download is resumed if the server still has the same version of the file (RFC 9110, sections 13.1.5
    and 14: If-Range and Range). A file whose checksum is known is also kept in a scratch folder, so that another choice
    of words does not download it again.

    Args:
        url: http, https or file.
        target: path of the file; its folder exists.
        size: the expected size in bytes; None: any.
        sha256: the expected SHA-256 in hex digits; None: any.

    Returns:
        The SHA-256 of the file, in hex digits.

    Raises:
        UserError: the file cannot be read or downloaded, or it is not the expected one.
    """
    if urlsplit(url).scheme == "file":
        return _copy(url, target, size, sha256)
    kept = paths.scratch("downloads") / sha256 if sha256 else None
    partial = paths.scratch("downloads") / hashlib.sha256(url.encode()).hexdigest()[:16]
    with FileLock(f"{partial}.lock"):  # two experiments of a queue may want the same file
        if kept and kept.exists() and sha256_of(kept) == sha256:
            shutil.copyfile(kept, target)
            return sha256
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(_TransientError),
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_exponential(FIRST_WAIT_SECONDS, max=30),
                before_sleep=_say_retry,
                reraise=True,
            ):
                with attempt:
                    _download(url, partial, size)
        except _TransientError as reason:
            raise _unreachable(url, str(reason)) from None
        try:
            digest = _check(url, partial, size, sha256)
        except UserError:
            _discard(partial)
            raise
        shutil.move(partial, kept or target)
        _discard(partial)
    if kept:
        shutil.copyfile(kept, target)
    return digest


def _copy(url: str, target: Path, size: int | None, sha256: str | None) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise UserError(f"{url}: a file:// address has three slashes and the full path, as in file:///home/me/a.zip")
    with written_whole(target) as partial:
        try:
            shutil.copyfile(url2pathname(parts.path), partial)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise UserError(f"{url}: {error.strerror}") from None
        return _check(url, partial, size, sha256)


def _check(url: str, file: Path, size: int | None, sha256: str | None) -> str:
    received = file.stat().st_size
    if size is not None and received != size:
        raise UserError(f"{url}: {received:,} bytes came, expected {size:,}; nothing was kept")
    digest = sha256_of(file)
    if sha256 and digest != sha256:
        raise UserError(f"{url}: wrong checksum: SHA-256 expected {sha256}, got {digest}; nothing was kept")
    return digest


def _download(url: str, partial: Path, size: int | None) -> None:
    """One attempt: appends the missing part to `partial`, or starts again."""
    start, version = _resumable(partial)
    headers = {"Accept-Encoding": "identity"}  # no compression, so that sizes are those of the file
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
        ) as response:
            total_there = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
            if response.status_code == requests.codes.requested_range_not_satisfiable and start:
                if total_there and int(total_there[1]) == start:
                    return  # it was complete
                _discard(partial)
                raise _TransientError("HTTP 416")
            _check_status(url, response)
            _receive(url, response, partial, start, size)
    except requests.exceptions.SSLError as error:
        raise _unreachable(url, f"no secure connection: {_root(error)}") from None
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        raise _TransientError(_reason(error)) from None
    except requests.RequestException as error:
        raise _unreachable(url, str(error)) from None


def _resumable(partial: Path) -> tuple[int, str]:
    """How many bytes were received, and of which version of the file; (0, ""): start again."""
    if not partial.exists() or not _version_file(partial).exists():
        return 0, ""
    version = _version_file(partial).read_text(encoding="latin-1")
    return (partial.stat().st_size, version) if version else (0, "")


def _version_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.version")


def _discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _version_file(partial).unlink(missing_ok=True)


def _version(response: requests.Response) -> str:
    """Identifies the version of a file. A weak ETag may not (RFC 9110, section 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _check_status(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status >= requests.codes.server_error or status in (requests.codes.request_timeout, requests.codes.too_many):
        raise _TransientError(f"HTTP {status}")
    if status not in (requests.codes.ok, requests.codes.partial_content):
        raise _unreachable(url, f"HTTP {status}")


def _receive(url: str, response: requests.Response, partial: Path, start: int, size: int | None) -> None:
    if response.status_code == requests.codes.ok:  # Range was ignored, or the file has changed
        start = 0
        partial.unlink(missing_ok=True)
        _version_file(partial).write_text(_version(response), encoding="latin-1")
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        _discard(partial)
        raise _TransientError("the server sent another part of the file than asked for")
    announced = response.headers.get("Content-Length")
    total = start + int(announced) if announced and announced.isdecimal() else None
    if size is not None and total is not None and total != size:
        _discard(partial)
        kind = response.headers.get("Content-Type", "no content type")
        raise UserError(f"{url}: the server announces {total:,} bytes ({kind}), expected {size:,}; nothing was kept")
    bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=Path(urlsplit(url).path).name, disable=None)
    with bar, partial.open("ab") as file:
        # The raw stream: `iter_content` would unpack a .gz that the server labels with Content-Encoding.
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            file.write(chunk)
            bar.update(len(chunk))
            if size is not None and file.tell() > size:
                break
    if total is not None and partial.stat().st_size != total:
        raise _TransientError(f"{partial.stat().st_size:,} bytes came, the server announced {total:,}")


def _root(error: BaseException) -> BaseException:
    """The error that requests and urllib3 have wrapped."""
    inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, BaseException)), None)
    return _root(inner) if isinstance(inner, BaseException) else error


def _reason(error: Exception) -> str:
    root = _root(error)
    if isinstance(root, NameResolutionError):
        return "the name of the server cannot be resolved"
    if isinstance(error, requests.Timeout) or isinstance(root, ReadTimeoutError | TimeoutError):
        return "timed out"
    if isinstance(root, ConnectionRefusedError) or isinstance(root.__cause__, ConnectionRefusedError):
        return "connection refused"
    return f"the connection broke off ({root})"


def _say_retry(state: RetryCallState) -> None:
    if state.outcome and state.next_action:
        tqdm.write(f"{state.outcome.exception()}: trying again in {state.next_action.sleep:.0f} s", file=sys.stderr)


def _unreachable(url: str, reason: str) -> UserError:
    return UserError(f"{url}: {reason}; give the address of a mirror (dataset_url=...), or take dataset=synthetic")
