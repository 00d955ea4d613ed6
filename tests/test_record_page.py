"""The page of `kws record`: its server, and what a browser with a microphone makes of it."""

import hashlib
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
import soundfile
from test_record import GOOD, files, take

from kws.audio.cut import block_decibels
from kws.core.errors import UserError
from kws.record import page
from kws.record.checks import SAMPLE_RATE, check_take, take_samples
from kws.record.takes import Plan

# --- The server


DEADLINE = 120  # s; nothing here takes so long
# The command on a machine of this address: a machine without a network has it, too.
PROGRAM = """
import sys
from kws.record import page
from kws.spotting.cli import main
page._own_address = lambda: "127.0.0.1"
sys.exit(main())
"""


@contextmanager
def served(*arguments: str, folder: Path) -> Iterator[list[str]]:
    """What `kws record --page` prints when it is ready, in this folder."""
    command = [sys.executable, "-c", PROGRAM, "record", *arguments, "--page", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as server:
        silent = threading.Timer(DEADLINE, server.kill)
        silent.start()
        try:
            first = server.stdout.readline()
            rest = [server.stdout.readline() for _ in range(3 * first.startswith("https"))]
            silent.cancel()
            if not all((first, *rest)):
                pytest.fail("kws record --page ended, or said nothing")
            yield [first, *rest]
        finally:
            silent.cancel()
            server.terminate()


@pytest.fixture
def address(tmp_path, monkeypatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    with served("coffee", "blinds", "--takes", "1", "--speaker", "ada", folder=tmp_path) as lines:
        yield lines[0].split()[0]


def asked(
    address: str, name: str, query: dict[str, str] | None = None, samples: np.ndarray | None = None, **more
) -> Any:
    data = None if samples is None else samples.astype("<f4").tobytes()
    with urllib.request.urlopen(f"{address}{name}?{urlencode(query or {})}", data, **more) as reply:
        return json.loads(reply.read())


def refused(*arguments: Any) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as error:
        asked(*arguments)
    return error.value.code, error.value.read().decode()


def test_takes_are_checked_and_kept_on_this_side(address):
    said = {"speaker": "bob", "word": "coffee"}
    assert asked(address, "todo", {"speaker": "bob"}) == {
        "speaker": "bob",
        "todo": [{"word": word, "number": 1, "wanted": 1, "samples": len(take())} for word in ("coffee", "blinds")],
    }
    soft = asked(address, "check", said, take(*GOOD, decibels=-50))
    assert [problem.partition(":")[0] for problem in soft["problems"]] == ["too soft"]
    good = asked(address, "check", said, take(*GOOD))
    assert (good["problems"], good["end"] - good["start"]) == ([], SAMPLE_RATE)
    assert files() == []
    assert asked(address, "keep", said, take(*GOOD)) == {"path": "recordings/coffee/bob/1.flac"}
    kept, rate = soundfile.read("recordings/coffee/bob/1.flac", dtype="float32")
    assert rate == SAMPLE_RATE
    assert kept == pytest.approx(take(*GOOD)[good["start"] : good["end"]], abs=1e-4)
    assert [one["word"] for one in asked(address, "todo", {"speaker": "bob"})["todo"]] == ["blinds"]


def test_what_nobody_wants_is_refused_and_not_kept(address):
    said = {"speaker": "bob", "word": "coffee"}
    assert refused(address, "keep", said | {"word": "../x"}, take()) == (400, "../x: no take of it by bob is wanted")
    code, reason = refused(address, "keep", said | {"speaker": "../bob"}, take(*GOOD))
    assert (code, reason.partition(":")[0]) == (400, "speaker")
    assert refused(address, "keep", said, take()[1:]) == (400, f"coffee: a take has {len(take())} samples")
    assert refused(address, "keep", said, take() * np.float32("nan")) == (400, "coffee: samples that are not numbers")
    assert refused(address, "keep", said, take()) == (
        400,
        "coffee: nothing to keep: no speech: nothing was louder than the room",
    )
    asked(address, "keep", said, take(*GOOD))
    assert refused(address, "keep", said, take(*GOOD)) == (400, "coffee: no take of it by bob is wanted")
    assert files() == ["coffee/bob/1.flac"]


def test_without_the_code_nothing_is_answered(address):
    host, code = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)(\w{10})/", address).groups()
    for name in ("", "index.html", f"{code[:-1]}/index.html", f"x{code}/settings.json", "/settings.json"):
        assert refused(host, name)[0] == 404
    assert refused(host, "keep", {"speaker": "bob", "word": "coffee"}, take(*GOOD))[0] == 404
    assert asked(address, "settings.json")["speaker"] == "ada"
    assert files() == []


def spoil(address: str, request: str, body: bytes = b"") -> str:
    """The first line of the answer to a request that ends after this."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=DEADLINE) as connection:
        connection.sendall(f"{request}\r\n\r\n".encode() + body)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile() as answer:
            return answer.readline().strip()


def test_a_spoiled_request_is_refused_and_the_terminal_says_nothing(tmp_path, capfd):
    with served("coffee", "--takes", "1", folder=tmp_path) as lines:
        address = lines[0].split()[0]
        path = f"{urlsplit(address).path}keep?speaker=bob&word=coffee"
        data = take(*GOOD).astype("<f4").tobytes()
        length = f"Content-Length: {len(data)}"
        assert spoil(address, "GET //[ HTTP/1.1") == "HTTP/1.1 404 Not Found"
        for end in (len(data) // 2, len(data) // 2 + 1, 0):  # the second is in the middle of a sample
            assert spoil(address, f"POST {path} HTTP/1.1\r\n{length}", data[:end]) == "HTTP/1.1 400 Bad Request"
        assert spoil(address, f"POST {path} HTTP/1.1\r\n{length}", data) == "HTTP/1.1 200 OK"
    assert capfd.readouterr().err == ""
    assert files(str(tmp_path / "recordings")) == ["coffee/bob/1.flac"]


def test_the_code_is_another_one_each_time(tmp_path):
    codes = set()
    for _ in range(2):
        with served("coffee", folder=tmp_path) as lines:
            codes.add(lines[0].split("/")[3])
    assert len(codes) == 2


def test_the_page_has_all_that_it_asks_for_and_may_ask_nobody_else():
    content = page._content({})
    html = content["index.html"].decode()
    wanted = set(re.findall(r'(?:src|href)="(?!data:)([^"]+)"', html))
    for name in ("record.js", "microphone.js"):
        text = content[name].decode()
        wanted |= set(re.findall(r'from "\./([^"]+)"', text)) | set(re.findall(r'addModule\("([^"]+)"\)', text))
    assert wanted == set(content) - {"index.html", "settings.json"}
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; connect-src 'self';")
    assert not re.search(r"unsafe|http|\*", policy)


def test_other_machines_get_https_with_a_certificate_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with served("coffee", "--takes", "1", "--host", "0.0.0.0", folder=tmp_path) as lines:
        address, warning = lines[0].split()[0], "".join(lines[1:])
        [port] = re.fullmatch(r"https://127\.0\.0\.1:(\d+)/\w{10}/", address).groups()
        assert "not private" in warning
        certificate = ssl.get_server_certificate(("127.0.0.1", int(port)))
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()
        assert f"SHA-256: {':'.join(re.findall('..', digest))}\n" in warning
        context = ssl.create_default_context(cadata=certificate)
        said = {"speaker": "bob", "word": "coffee"}
        assert asked(address, "keep", said, take(*GOOD), context=context) == {"path": "recordings/coffee/bob/1.flac"}
        with pytest.raises(urllib.error.URLError, match="certificate"):
            asked(address, "settings.json")


def test_a_machine_without_a_network_is_one_line(tmp_path, monkeypatch):
    class Unreachable(socket.socket):
        def connect(self, _):
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", Unreachable)
    with pytest.raises(UserError, match=r"^host 0\.0\.0\.0: Network is unreachable; give the address of this machine"):
        page.serve(Plan(tmp_path, ["coffee"], 1), "", "0.0.0.0", 0)


def test_without_the_package_for_certificates_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(
        UserError, match=r"^host 192\.0\.2\.7: .* the package cryptography: pip install 'kws\[record\]'$"
    ):
        page.serve(Plan(tmp_path, ["coffee"], 1), "", "192.0.2.7", 0)


def test_an_address_of_another_machine_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^host 192\.0\.2\.7, port 0: .*; choose another one: --host …, --port …$"):
        page.serve(Plan(tmp_path, ["coffee"], 1), "", "192.0.2.7", 0)


# --- The browser

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright: make test installs it")
from test_web_page import ARGUMENTS, CHROMIUM  # noqa: E402 (after the check for playwright)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome")
DEVICES = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
# In place of microphone.js: it hears what `say` says, and nothing else.
MICROPHONE = """
export class Microphone {
  static async open(rate, hear) {
    window.hear = hear;
    return new Microphone();
  }
  close() {
    delete window.hear;
  }
}
"""
# Gives the page a sound, in blocks. The first block is given again until the page listens.
SAY = """
async (samples) => {
  for (let start = 0; start < samples.length; ) {
    window.hear?.(Float32Array.from(samples.slice(start, start + 320)));
    if (["counting", "saying"].includes(document.body.dataset.state)) start += 320;
    else await new Promise((resolve) => setTimeout(resolve));
  }
}
"""


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Starts a browser with these arguments."""
    with playwright.sync_playwright() as running:
        yield lambda *more: running.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *more])


@contextmanager
def visited(launch: Callable[..., Any], address: str, *arguments: str, scripted: bool = False) -> Iterator[Any]:
    """The open page, in a browser with these arguments. Scripted: its microphone hears what `say` says."""
    with launch(DEVICES[0], *arguments) as browser:
        visit = browser.new_page(ignore_https_errors=True)
        visit.set_default_timeout(DEADLINE * 1000)
        if scripted:
            visit.route(
                "**/microphone.js", lambda route: route.fulfill(body=MICROPHONE, content_type="text/javascript")
            )
        visit.problems = []
        visit.on("pageerror", lambda error: visit.problems.append(str(error)))
        visit.on("requestfailed", lambda request: visit.problems.append(request.url))
        visit.goto(address)
        visit.wait_for_selector("[data-state=who]")
        yield visit


def hearing(sound: np.ndarray, folder: Path) -> list[str]:
    """Arguments for a browser whose own microphone hears this sound again and again, from wherever it is."""
    soundfile.write(folder / "heard.wav", sound, SAMPLE_RATE, subtype="PCM_16")
    return [DEVICES[1], f"--use-file-for-fake-audio-capture={folder / 'heard.wav'}"]


def say(visit: Any, samples: np.ndarray) -> None:
    visit.evaluate(SAY, samples.tolist())


def problems(visit: Any) -> list[str]:
    """What is said of the take, as soon as it is."""
    visit.wait_for_selector("[data-state=asking]")
    return [text.partition(":")[0] for text in visit.locator("#problems li").all_inner_texts()]


@needs_chromium
def test_takes_are_recorded_in_the_browser_until_all_are_there(launch, address):
    with visited(launch, address, scripted=True) as visit:
        assert visit.input_value("#speaker") == "ada"
        visit.click("#start")
        said = take(*GOOD)
        parts = np.split(said, [SAMPLE_RATE // 2, round(2.8 * SAMPLE_RATE)])
        say(visit, parts[0])
        assert visit.inner_text("#word") == "coffee"
        assert visit.inner_text("#step") == "coffee · 1 of 1 · 2 to go"
        assert visit.inner_text("#detail") == "3 …"
        say(visit, parts[1])
        assert visit.inner_text("#detail") == "Say it now."
        assert float(visit.get_attribute("#level", "aria-valuenow")) == pytest.approx(-20, abs=0.5)  # in the word
        say(visit, parts[2])
        assert problems(visit) == []
        assert visit.inner_text("#detail").startswith("Good: 0.4")
        visit.click("#hear")
        visit.click("#again")
        say(visit, said)
        assert problems(visit) == []
        assert files() == []
        visit.click("#keep")
        say(visit, take())
        assert visit.inner_text("#word") == "blinds"
        assert problems(visit) == ["no speech"]
        visit.click("#again")
        say(visit, said)
        assert problems(visit) == []
        visit.click("#keep")
        visit.wait_for_selector("[data-state=who]")
        assert visit.inner_text("#detail") == "All takes of ada are there. Thank you."
        assert visit.problems == []
    assert files() == ["blinds/ada/1.flac", "coffee/ada/1.flac"]
    kept, _ = soundfile.read("recordings/coffee/ada/1.flac", dtype="float32")
    checked = check_take(said, 1.0)
    assert kept == pytest.approx(said[checked.start : checked.end], abs=1e-4)


@needs_chromium
def test_a_soft_take_is_said_to_be_soft_and_stop_ends_it(launch, address):
    with visited(launch, address, scripted=True) as visit:
        visit.fill("#speaker", "bob")
        visit.click("#start")
        say(visit, take(*GOOD, decibels=-50))
        assert problems(visit) == ["too soft"]
        assert visit.evaluate("document.activeElement.id") == "again"
        visit.click("#quit")
        visit.wait_for_selector("[data-state=who]")
        assert visit.inner_text("#detail") == "2 takes of bob are missing. Start goes on."
        visit.click("#start")
        say(visit, take()[:SAMPLE_RATE])
        visit.click("#quit")  # in the middle of a take
        visit.wait_for_selector("[data-state=who]")
        assert visit.problems == []
    assert files() == []


@needs_chromium
def test_a_silent_microphone_can_keep_nothing(launch, address, tmp_path):
    with visited(launch, address, *hearing(np.zeros(SAMPLE_RATE, np.float32), tmp_path)) as visit:
        visit.click("#start")
        assert problems(visit) == ["silent"]
        assert visit.is_disabled("#keep")
        assert visit.is_disabled("#hear")
        assert visit.evaluate("document.activeElement.id") == "again"


@needs_chromium
def test_what_goes_wrong_is_said(launch, address):
    with visited(launch, address) as visit:
        visit.click("#start")
        visit.wait_for_selector("#message:visible")
        assert visit.inner_text("#message").startswith("The microphone was refused.")
        visit.fill("#speaker", "coffee")
        visit.click("#start")
        visit.wait_for_selector("#message:has-text('is a word')")
        visit.route("**/todo*", lambda route: route.abort())
        visit.fill("#speaker", "bob")
        visit.click("#start")
        visit.wait_for_selector("#message:has-text('kws record does not answer')")
        assert visit.is_enabled("#start")


@needs_chromium
def test_over_https_a_phone_that_goes_on_sends_what_its_microphone_hears(launch, tmp_path):
    tone = 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)  # without an edge
    with (
        served("coffee", "--takes", "1", "--host", "0.0.0.0", folder=tmp_path) as lines,
        visited(launch, lines[0].split()[0], *hearing(tone, tmp_path)) as visit,
    ):
        assert visit.url.startswith("https://")
        visit.fill("#speaker", "bob")
        with visit.expect_request("**/check*") as sent:
            visit.click("#start")
        heard = np.frombuffer(sent.value.post_data_buffer, "<f4")
        visit.wait_for_selector("[data-state=asking]")  # it was answered
        assert visit.problems == []
    assert len(heard) == take_samples(1.0)
    assert np.median(block_decibels(heard, SAMPLE_RATE)) == pytest.approx(-20, abs=1)
