"""`kws web`: LiteRT.js from npm, the files of the page, and its server. What browsers make of it: test_web_page.py."""

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
from importlib.resources import files

import pytest

from kws.core.errors import UserError
from kws.spotting import cli
from kws.web import litert_js
from kws.web.page import TYPES, page, serve_page, write_page

STATIC = files("kws.web").joinpath("static")
RUNTIME = {"litert/index.js": b"runtime", "litert/litert_wasm_internal.wasm": b"\0asm"}


def sha512(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


@pytest.fixture
def archive() -> bytes:
    """An archive as npm has them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"package/dist/index.js": b"runtime", "package/README.md": b"text"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def npm(archive, httpserver, tmp_path, monkeypatch):
    """A registry of npm with one package, which is the one that is wanted; an empty cache."""
    package = litert_js.Package("@some/core", "1.2.3", sha512(archive), {"dist/index.js": "litert/index.js"})
    monkeypatch.setattr(litert_js, "PACKAGES", (package,))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", httpserver.url_for("/npm/"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    httpserver.expect_request("/npm/@some/core/-/core-1.2.3.tgz").respond_with_data(archive)
    return httpserver


def test_litert_js_is_downloaded_once(npm, archive, capsys):
    assert litert_js.litert_js() == {"litert/index.js": b"runtime"}
    kept = litert_js.cache() / "core-1.2.3.tgz"
    assert kept.read_bytes() == archive
    [line] = [line for line in capsys.readouterr().err.splitlines() if "GET" not in line]  # the server's own
    assert line == f"downloading {npm.url_for('/npm/@some/core/-/core-1.2.3.tgz')}, once: it is kept as {kept}"
    assert litert_js.litert_js() == {"litert/index.js": b"runtime"}
    assert len(npm.log) == 1
    assert capsys.readouterr().err == ""


def test_what_is_kept_is_checked_each_time(npm, archive, capsys):
    litert_js.litert_js()
    kept = litert_js.cache() / "core-1.2.3.tgz"
    kept.write_bytes(archive[:-1])
    assert litert_js.litert_js() == {"litert/index.js": b"runtime"}
    assert kept.read_bytes() == archive
    assert len(npm.log) == 2
    assert f"{kept}: damaged, so it is downloaded again\n" in capsys.readouterr().err


def test_another_file_than_the_expected_one_is_refused_and_not_kept(npm):
    npm.clear()
    npm.expect_request("/npm/@some/core/-/core-1.2.3.tgz").respond_with_data(b"something else")
    wrong = re.escape(sha512(b"something else"))
    with pytest.raises(UserError, match=rf"core-1.2.3.tgz: wrong checksum: .*, got {wrong}; nothing was kept$"):
        litert_js.litert_js()
    assert not any(litert_js.cache().glob("*"))


def test_without_a_network_one_line_says_what_helps(npm, monkeypatch):
    npm.clear()
    url = npm.url_for("/npm/@some/core/-/core-1.2.3.tgz")
    kept = litert_js.cache() / "core-1.2.3.tgz"
    help_ = re.escape(f"; NPM_CONFIG_REGISTRY names a mirror, or copy the file from another machine to {kept}")
    with pytest.raises(UserError, match=rf"^{re.escape(url)}: HTTP Error 500.*{help_}$"):
        litert_js.litert_js()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(UserError, match=rf"refused.*{help_}$"):
            litert_js.litert_js()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "file:///etc")
    with pytest.raises(UserError, match=r"^NPM_CONFIG_REGISTRY: file:///etc/.* has to begin with https:// or http://$"):
        litert_js.litert_js()


@pytest.mark.skipif(os.environ.get("KWS_NETWORK") != "1", reason="downloads 12 MB from npm; KWS_NETWORK=1 runs it")
def test_the_pinned_archives_hold_what_the_page_loads(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = litert_js.litert_js()
    assert found["litert/litert_wasm_internal.wasm"].startswith(b"\0asm")
    assert found["litert/litert_wasm_compat_internal.wasm"].startswith(b"\0asm")
    assert b"loadLiteRt" in found["litert/index.js"]
    assert json.loads(found["litert/package.json"])["license"] == "Apache-2.0"


@pytest.fixture
def without_npm(monkeypatch):
    monkeypatch.setattr("kws.web.page.litert_js", lambda: RUNTIME)


@pytest.mark.usefixtures("without_npm")
def test_the_page_has_all_that_it_asks_for_and_may_ask_nobody_else():
    content = page(b"model", {"about": {}})
    html = content["index.html"].decode()
    wanted = set(re.findall(r'(?:src|href)="(?!data:)([^"]+)"', html))
    for name in ("page.js", "spotter.js", "microphone.js", "resampler.js", "worklet.js"):
        text = content[name].decode()
        wanted |= {each.removeprefix("./") for each in re.findall(r'from "(\./[^"]+)"', text)}
        wanted |= set(re.findall(r'(?:fetch|addModule)\("([^"]+)"\)', text))
        assert not re.search(r'["\'`]//|https?://(?!ccrma|127\.0\.0\.1)', text)
    assert {"page.js", "spotter.js", "worklet.js", "kws.json", "model.tflite"} <= wanted <= set(content)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; connect-src 'self';")
    assert not re.search(r"unsafe-(?!eval)|http|\*|(?<!wasm-)unsafe-eval", policy)
    imports = re.search(r'<script type="importmap">(.*?)</script>', html)[1]
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy  # another import map needs another hash
    targets = {f"litert/{target.rpartition('/')[2]}" for target in json.loads(imports)["imports"].values()}
    assert targets <= {target for package in litert_js.PACKAGES for target in package.files.values()}


def test_every_file_of_the_page_has_a_type():
    names = [file.name for file in STATIC.iterdir()] + [f for p in litert_js.PACKAGES for f in p.files.values()]
    assert {f".{name.rpartition('.')[2]}" for name in names} <= set(TYPES)


@pytest.mark.usefixtures("without_npm")
def test_a_folder_gets_the_page_and_keeps_what_else_is_in_it(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "photo.jpg").touch()
    content = page(b"model", {"about": {"classes": ["naïve"]}})
    write_page(content, tmp_path / "site")
    written = {p.relative_to(tmp_path / "site").as_posix(): p for p in (tmp_path / "site").rglob("*") if p.is_file()}
    assert set(written) == {*content, "photo.jpg"}
    assert written["model.tflite"].read_bytes() == b"model"
    assert json.loads(written["kws.json"].read_text(encoding="utf-8")) == {"about": {"classes": ["naïve"]}}
    with pytest.raises(UserError, match=r"photo.jpg: (File exists|Not a directory)$"):
        write_page(content, tmp_path / "site" / "photo.jpg")


def kws(*arguments, capsys) -> tuple[int, str, list[str]]:
    code = cli.main([*map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err.splitlines()


@pytest.mark.usefixtures("without_npm")
def test_the_settings_of_the_page_are_those_of_listening(exported, tmp_path, capsys):
    code, out, _ = kws("web", "--model", exported / "kws.tflite", "--out", tmp_path / "site", capsys=capsys)
    assert code == 0
    assert re.fullmatch(rf"{tmp_path / 'site'}: the page, [\d,]+ bytes\n", out)
    assert (tmp_path / "site" / "model.tflite").read_bytes() == (exported / "kws.tflite").read_bytes()
    settings = json.loads((tmp_path / "site" / "kws.json").read_text())
    spotter = cli.Spotter.load(exported / "kws.tflite")
    assert settings["words"] == spotter.words == [0, 1]
    assert settings["timing"]["step_samples"] == spotter.step_samples
    assert settings["longest_clip_samples"] == 17_600
    assert settings["about"]["sensitivities"]["few_misses"]["threshold"] == spotter.thresholds["few_misses"]
    assert settings["about"]["front_end"]["sample_rate"] == 16_000


def test_a_model_that_takes_no_sound_is_refused_before_anything_is_downloaded(exported, monkeypatch, capsys):
    monkeypatch.setattr("kws.web.page.litert_js", lambda: pytest.fail("it was downloaded"))
    code, out, [line] = kws("web", "--model", exported / "kws_features.tflite", capsys=capsys)
    assert (code, out) == (1, "")
    assert line.endswith(
        "kws_features.tflite: takes features, and the page has no front end: give a file that takes sound"
    )
    code, out, [line] = kws("web", "--model", "nothing.tflite", capsys=capsys)
    assert line.startswith("error: nothing.tflite: no such model")


@pytest.mark.usefixtures("without_npm")
def test_the_file_that_hears_step_by_step_is_taken_where_it_is_there(exported_causal, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.STREAM.parent.mkdir(parents=True)
    for path in (cli.MODEL, cli.STREAM):
        shutil.copy(exported_causal / path.name, path)
        assert kws("web", "--out", "site", capsys=capsys)[0] == 0
        assert (tmp_path / "site" / "model.tflite").read_bytes() == path.read_bytes()


def test_a_port_that_is_taken_is_one_line_that_says_what_to_do():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"^port {port}: .*in use; choose another one: --port …$"):
            serve_page({}, port)


@pytest.mark.parametrize("port", ["65536", "five", "-1", ""])
def test_what_is_no_port_is_wrong_usage(port, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["web", f"--port={port}"])
    assert f"{port} is not a whole number from 0 to 65535" in capsys.readouterr().err


SERVE = """
from kws.web.page import serve_page
serve_page({"index.html": b"<p>", "kws.json": b"{}", "litert/a.wasm": b"asm", "page.js": b"1"}, 0)
"""


def test_the_server_answers_this_machine_with_the_files_of_the_page_alone():
    server = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+)  Ctrl-C stops\n", server.stdout.readline())[1]
        got = {}
        for name in ("", "kws.json", "litert/a.wasm?x=1", "page.js"):
            with urllib.request.urlopen(f"{address}/{name}") as answer:
                got[name] = (answer.read(), answer.headers["Content-Type"])
        assert got == {
            "": (b"<p>", "text/html"),
            "kws.json": (b"{}", "application/json"),
            "litert/a.wasm?x=1": (b"asm", "application/wasm"),
            "page.js": (b"1", "text/javascript"),
        }
        by_name = address.replace("127.0.0.1", "localhost")
        with urllib.request.urlopen(urllib.request.Request(address, headers={"Host": by_name[7:]})) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        for host in ("elsewhere.example", f"elsewhere.example:{address.rpartition(':')[2]}", "[::1", ""):
            with (
                pytest.raises(urllib.error.HTTPError, match="403"),
                contextlib.closing(urllib.request.urlopen(urllib.request.Request(address, headers={"Host": host}))),
            ):
                pass
        for name in ("missing.js", "../pyproject.toml", "%2e%2e/pyproject.toml", "/etc/passwd"):
            with (
                pytest.raises(urllib.error.HTTPError, match="404"),
                contextlib.closing(urllib.request.urlopen(f"{address}/{name}")),
            ):
                pass
    finally:
        server.send_signal(signal.SIGINT)
        _, printed = server.communicate(timeout=60)
    assert printed.splitlines()[-1] == "KeyboardInterrupt"  # `kws` turns it into its exit code
