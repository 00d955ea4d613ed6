import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from kws.core.errors import UserError
from kws.download import fetch as fetch_module
from kws.download.fetch import fetch

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = {"ETag": '"one"'}


@pytest.fixture(autouse=True)
def _quick_retries_in_an_own_project(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(fetch_module, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(fetch_module, "READ_TIMEOUT_SECONDS", 0.2)


@pytest.fixture(scope="module")
def one_server() -> Iterator[HTTPServer]:
    with HTTPServer(threaded=True) as server:  # a stalling answer must not hold up the next one
        yield server


@pytest.fixture
def server(one_server) -> HTTPServer:
    one_server.clear()
    return one_server


def left_over(project: Path) -> list[Path]:
    return [path for path in project.rglob("*") if path.is_file() and path.suffix != ".lock"]


def partial_of(url: str, project: Path, content: bytes, version: str) -> None:
    partial = project / ".scratch" / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16]
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content)
    partial.with_name(f"{partial.name}.version").write_text(version)


def ranges(request: Request) -> Response:
    """A server that knows Range and If-Range."""
    if "Range" not in request.headers or request.headers.get("If-Range") != ETAG["ETag"]:
        return Response(CONTENT, headers=ETAG)
    start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    if start >= len(CONTENT):
        return Response(status=416, headers={"Content-Range": f"bytes */{len(CONTENT)}"})
    there = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
    return Response(CONTENT[start:], 206, headers=ETAG | there)


def cut(request: Request, at: int = 300_000) -> Response:
    """Announces the whole file, and closes the connection before its end."""
    whole = ranges(request)
    headers = dict(whole.headers) | {"Content-Length": str(len(whole.data))}
    return Response(iter([whole.data[:at]]), whole.status_code, headers=headers)


def answers(server: HTTPServer, *handlers: Callable[[Request], Response]) -> str:
    """The address at which these answers come, one after the other; the last one for ever."""
    waiting = list(handlers)

    def answer(request: Request) -> Response:
        handler = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return handler(request)

    server.expect_request("/a.zip").respond_with_handler(answer)
    return server.url_for("/a.zip")


def test_a_file_comes_whole_and_leaves_nothing_unfinished(server, tmp_path):
    target = tmp_path / "a.zip"
    assert fetch(answers(server, ranges), target, size=len(CONTENT), sha256=SHA256) == SHA256
    assert target.read_bytes() == CONTENT
    assert {path.name for path in left_over(tmp_path)} == {"a.zip", SHA256}


def test_a_download_that_broke_off_goes_on_where_it_stopped(server, tmp_path):
    fetch(answers(server, cut, ranges), tmp_path / "a.zip", sha256=SHA256)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    first, second = (request for request, _ in server.log)
    assert "Range" not in first.headers
    assert int(second.headers["Range"][6:-1]) > 0
    assert second.headers["If-Range"] == ETAG["ETag"]


def test_a_later_run_goes_on_where_an_earlier_one_stopped(server, tmp_path):
    url = answers(server, ranges)
    partial_of(url, tmp_path, CONTENT[:1000], ETAG["ETag"])
    fetch(url, tmp_path / "a.zip", sha256=SHA256)
    assert server.log[0][0].headers["Range"] == "bytes=1000-"


def test_a_partial_file_of_another_version_is_dropped(server, tmp_path):
    url = answers(server, ranges)
    partial_of(url, tmp_path, b"old" * 1000, '"older"')
    fetch(url, tmp_path / "a.zip", sha256=SHA256)


def test_a_partial_file_of_unknown_version_is_dropped(server, tmp_path):
    url = answers(server, ranges)
    partial_of(url, tmp_path, b"old" * 1000, "")
    fetch(url, tmp_path / "a.zip", sha256=SHA256)
    assert "Range" not in server.log[0][0].headers


def test_a_server_that_ignores_range_is_read_from_the_start(server, tmp_path):
    fetch(answers(server, cut, lambda _: Response(CONTENT, headers=ETAG)), tmp_path / "a.zip", sha256=SHA256)


def test_a_server_that_sends_another_part_than_asked_for_is_asked_again(server, tmp_path):
    def wrong_part(_: Request) -> Response:
        return Response(
            CONTENT[5:], 206, headers=ETAG | {"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}
        )

    fetch(answers(server, cut, wrong_part, ranges), tmp_path / "a.zip", sha256=SHA256)


def test_a_partial_file_that_is_complete_is_taken(server, tmp_path):
    url = answers(server, ranges)
    partial_of(url, tmp_path, CONTENT, ETAG["ETag"])
    fetch(url, tmp_path / "a.zip", sha256=SHA256)
    assert [response.status_code for _, response in server.log] == [416]


def test_a_partial_file_that_is_too_long_is_dropped(server, tmp_path):
    url = answers(server, ranges)
    partial_of(url, tmp_path, CONTENT + b"more", ETAG["ETag"])
    fetch(url, tmp_path / "a.zip", sha256=SHA256)
    assert [response.status_code for _, response in server.log] == [416, 200]


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    fetch(answers(server, lambda _: Response(status=500), ranges), tmp_path / "a.zip", sha256=SHA256)
    assert len(server.log) == 2


def test_a_server_that_stays_in_trouble_is_given_up(server, tmp_path):
    with pytest.raises(UserError, match=r"HTTP 503.*dataset_url=.*dataset=synthetic"):
        fetch(answers(server, lambda _: Response(status=503)), tmp_path / "a.zip")
    assert len(server.log) == fetch_module.ATTEMPTS


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(UserError, match=r"a\.zip: HTTP 404"):
        fetch(answers(server, lambda _: Response(status=404)), tmp_path / "a.zip")
    assert len(server.log) == 1
    assert left_over(tmp_path) == []


@pytest.fixture
def stall() -> Iterator[Callable[[Request], Response]]:
    """Sends the beginning, and then nothing for as long as the test runs."""
    over = threading.Event()

    def body() -> Iterator[bytes]:
        yield CONTENT[:100_000]
        over.wait(10)

    yield lambda _: Response(body(), headers=ETAG | {"Content-Length": str(len(CONTENT))})
    over.set()


def test_a_server_that_stalls_is_given_up_with_its_reason(server, tmp_path, stall):
    with pytest.raises(UserError, match="timed out"):
        fetch(answers(server, stall), tmp_path / "a.zip")
    assert len(server.log) == fetch_module.ATTEMPTS
    assert not (tmp_path / "a.zip").exists()


def test_a_server_that_stalls_once_is_asked_for_the_rest(server, tmp_path, stall):
    fetch(answers(server, stall, ranges), tmp_path / "a.zip", sha256=SHA256)
    assert [request.headers.get("Range") for request, _ in server.log][-1] == "bytes=65536-"


def test_a_server_that_always_sends_less_than_it_announces_is_given_up(server, tmp_path):
    def short(_: Request) -> Response:
        return Response(iter([CONTENT[:-1]]), headers={"Content-Length": str(len(CONTENT))})

    with pytest.raises(UserError, match=r"a\.zip: the connection broke off"):
        fetch(answers(server, short), tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_server_that_announces_less_than_it_has_is_found_out(server, tmp_path):
    def long(_: Request) -> Response:
        return Response(iter([CONTENT]), headers={"Content-Length": str(len(CONTENT) - 1)})

    with pytest.raises(UserError, match=r"announces 511,999 bytes .*, expected 512,000"):
        fetch(answers(server, long), tmp_path / "a.zip", size=len(CONTENT))
    with pytest.raises(UserError, match="wrong checksum"):
        fetch(answers(server, long), tmp_path / "a.zip", sha256=SHA256)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 100_000])
def test_a_server_that_announces_nothing_and_sends_another_size_is_found_out(server, tmp_path, length):
    body = (CONTENT * 2)[:length]
    url = answers(server, lambda _: Response(iter([body]), headers={"Connection": "close"}))
    with pytest.raises(UserError, match="expected 512,000"):
        fetch(url, tmp_path / "a.zip", size=len(CONTENT))
    assert left_over(tmp_path) == []


def test_a_page_in_place_of_the_file_is_named(server, tmp_path):
    url = answers(server, lambda _: Response("<html>sign in</html>", content_type="text/html"))
    with pytest.raises(UserError, match=r"announces 20 bytes \(text/html"):
        fetch(url, tmp_path / "a.zip", size=len(CONTENT))


def test_a_wrong_checksum_gives_both_and_keeps_nothing(server, tmp_path):
    with pytest.raises(UserError, match=f"SHA-256 expected {'0' * 64}, got {SHA256}"):
        fetch(answers(server, ranges), tmp_path / "a.zip", sha256="0" * 64)
    assert left_over(tmp_path) == []


def test_a_file_labelled_as_gzip_stays_as_it_is(server, tmp_path):
    url = answers(server, lambda _: Response(CONTENT, headers={"Content-Encoding": "gzip"}))
    fetch(url, tmp_path / "a.zip", sha256=SHA256)


def test_no_server_is_one_line_with_the_two_ways_out(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.zip"
        with pytest.raises(UserError) as caught:
            fetch(url, tmp_path / "a.zip")
    message = str(caught.value)
    assert message.startswith(f"{url}: connection refused")
    assert "dataset_url=" in message
    assert "dataset=synthetic" in message
    assert "\n" not in message


def test_a_name_that_cannot_be_resolved_is_said_to_be_so(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UserError, match="the name of the server cannot be resolved"):
        fetch("http://server.invalid/a.zip", tmp_path / "a.zip")


def test_a_server_without_the_right_certificate_is_not_asked_again(server, tmp_path):
    with pytest.raises(UserError, match="no secure connection"):
        fetch(server.url_for("/a.zip").replace("http://", "https://"), tmp_path / "a.zip")


def test_an_address_that_is_none_is_one_line(tmp_path):
    with pytest.raises(UserError, match="http://:0:0/a"):
        fetch("http://:0:0/a", tmp_path / "a.zip")


def test_a_file_address_is_copied_and_checked_the_same(tmp_path):
    source = tmp_path / "my data ü.zip"
    source.write_bytes(CONTENT)
    assert "%20" in source.as_uri()
    assert fetch(source.as_uri(), tmp_path / "a.zip", size=len(CONTENT), sha256=SHA256) == SHA256
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    with pytest.raises(UserError, match="wrong checksum"):
        fetch(source.as_uri(), tmp_path / "b.zip", sha256="0" * 64)
    with pytest.raises(UserError, match="512,000 bytes came, expected 5"):
        fetch(source.as_uri(), tmp_path / "b.zip", size=5)
    assert sorted(left_over(tmp_path)) == sorted([source, tmp_path / "a.zip"])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///no/such/file", "No such file"),
        ("file:///tmp", "Is a directory"),
        ("file://tmp/a.zip", "three slashes"),
    ],
)
def test_a_file_address_without_a_file_is_one_line(tmp_path, url, reason):
    with pytest.raises(UserError, match=f"{url}: .*{reason}"):
        fetch(url, tmp_path / "a.zip")
    assert left_over(tmp_path) == []


def test_a_file_whose_checksum_is_known_is_loaded_once(server, tmp_path):
    server.expect_ordered_request("/a.zip").respond_with_data(CONTENT)
    for name in ("first", "second"):
        assert fetch(server.url_for("/a.zip"), tmp_path / name, sha256=SHA256) == SHA256
        assert (tmp_path / name).read_bytes() == CONTENT
    assert len(server.log) == 1
