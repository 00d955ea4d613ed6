"""The page of `kws record`: its server, and what a browser with a microphone makes of it."""

import hashlib
import json
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile
from test_record import GOOD, ROOM_DB, files, room, take

from kws.core.errors import UserError
from kws.record import page
from kws.record.checks import SAMPLE_RATE
from kws.record.takes import Plan

# --- The server


@contextmanager
def served(*arguments: str, folder: Path) -> Iterator[list[str]]:
    """What `kws record --page` prints when it is ready, in this folder."""
    command = [sys.executable, "-m", "kws", "record", *arguments, "--page", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as server:
        try:
            first = server.stdout.readline()
            rest = [server.stdout.readline() for _ in range(3 * first.startswith("https"))]
            yield [first, *rest]
        finally:
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
    # 127.0.0.1 answers, too, where the server listens everywhere
    with served("coffee", "--takes", "1", "--host", "0.0.0.0", folder=tmp_path) as lines:
        address, warning = lines[0].split()[0], "".join(lines[1:])
        assert re.fullmatch(r"https://[\d.]+:\d+/\w{10}/", address)
        assert "not private" in warning
        port, code = re.search(r":(\d+)/(\w+)/", address).groups()
        here = f"https://127.0.0.1:{port}/{code}/"
        certificate = ssl.get_server_certificate(("127.0.0.1", int(port)))
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()
        assert f"SHA-256: {':'.join(re.findall('..', digest))}\n" in warning
        context = ssl.create_default_context(cadata=certificate)
        context.check_hostname = False
        said = {"speaker": "bob", "word": "coffee"}
        assert asked(here, "keep", said, take(*GOOD), context=context) == {"path": "recordings/coffee/bob/1.flac"}
        with pytest.raises(urllib.error.URLError, match="certificate"):
            asked(here, "settings.json")


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
from test_web_page import ARGUMENTS, CHROMIUM, DEADLINE  # noqa: E402 (after the check for playwright)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome")
DEVICES = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Starts a browser with these arguments."""
    with playwright.sync_playwright() as running:
        yield lambda *more: running.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *more])


@contextmanager
def visited(
    launch: Callable[..., Any], address: str, heard: np.ndarray | None, folder: Path, **options
) -> Iterator[Any]:
    """The open page, in a browser whose microphone hears this sound again and again; None: it is refused."""
    arguments = [DEVICES[0]]
    if heard is not None:
        soundfile.write(folder / "heard.wav", heard, SAMPLE_RATE, subtype="PCM_16")
        arguments = [*DEVICES, f"--use-file-for-fake-audio-capture={folder / 'heard.wav'}"]
    with launch(*arguments) as browser:
        visit = browser.new_page(**options)
        visit.set_default_timeout(DEADLINE)
        visit.problems = []
        visit.on("pageerror", lambda error: visit.problems.append(str(error)))
        visit.on("requestfailed", lambda request: visit.problems.append(request.url))
        visit.goto(address)
        visit.wait_for_selector("[data-state=who]")
        yield visit


def problems(visit: Any) -> list[str]:
    """What is said of the take, as soon as it is."""
    visit.wait_for_selector("[data-state=asking]")
    return [text.partition(":")[0] for text in visit.locator("#problems li").all_inner_texts()]


def record_until(visit: Any, expected: list[str]) -> None:
    """Records again until this is said of a take: a countdown may have begun while the word was being said."""
    for _ in range(10):
        if problems(visit) == expected:
            return
        visit.click("#again")
        visit.wait_for_selector("[data-state=counting]")
    pytest.fail(f"{expected} was never said; last {problems(visit)}")


def spoken(decibels: float = -20.0) -> np.ndarray:
    """A room in which a word is said every 4.3 s, so that a take has one at most. It is whole, or cut at an edge."""
    word = take((0.2, 0.4), decibels=decibels)
    return np.append(word, room(4.3 - len(word) / SAMPLE_RATE, ROOM_DB, seed=1))


@needs_chromium
def test_takes_are_recorded_in_the_browser_until_all_are_there(launch, address, tmp_path):
    with visited(launch, address, spoken(), tmp_path) as visit:
        assert visit.input_value("#speaker") == "ada"
        visit.click("#start")
        visit.wait_for_selector("[data-state=counting]")
        assert visit.inner_text("#word") == "coffee"
        assert visit.inner_text("#step") == "coffee · 1 of 1 · 2 to go"
        visit.wait_for_selector("[data-state=saying]")
        visit.wait_for_selector("#level:not([aria-valuenow='-60.00'])")
        for word in ("coffee", "blinds"):
            record_until(visit, [])
            assert visit.inner_text("#word") == word
            assert visit.inner_text("#detail").startswith("Good: 0.4")
            visit.click("#hear")
            visit.click("#keep")
            visit.wait_for_selector("[data-state=asking]", state="detached")
        visit.wait_for_selector("[data-state=who]")
        assert visit.inner_text("#detail") == "All takes of ada are there. Thank you."
        assert visit.problems == []
    assert files() == ["blinds/ada/1.flac", "coffee/ada/1.flac"]
    kept, _ = soundfile.read("recordings/coffee/ada/1.flac", dtype="float32")
    assert len(kept) == SAMPLE_RATE
    loud = np.flatnonzero(np.abs(kept) > 0.05) / SAMPLE_RATE
    assert (loud[0], loud[-1]) == pytest.approx((0.3, 0.7), abs=0.05)  # 0.4 s in the middle
    assert 20 * np.log10(np.sqrt(np.mean(kept[6400:9600] ** 2))) == pytest.approx(-20, abs=1)


@needs_chromium
def test_a_soft_take_is_said_to_be_soft_and_stop_ends_it(launch, address, tmp_path):
    with visited(launch, address, spoken(-50), tmp_path) as visit:
        visit.fill("#speaker", "bob")
        visit.click("#start")
        record_until(visit, ["too soft"])
        visit.click("#quit")
        visit.wait_for_selector("[data-state=who]")
        assert visit.inner_text("#detail") == "2 takes of bob are missing. Start goes on."
        visit.click("#start")
        visit.wait_for_selector("[data-state=counting]")
        visit.click("#quit")  # in the middle of a take
        visit.wait_for_selector("[data-state=who]")
        assert visit.problems == []
    assert files() == []


@needs_chromium
def test_a_silent_microphone_can_keep_nothing(launch, address, tmp_path):
    with visited(launch, address, np.zeros(SAMPLE_RATE, np.float32), tmp_path) as visit:
        visit.click("#start")
        assert problems(visit) == ["silent"]
        assert visit.is_disabled("#keep")
        assert visit.is_disabled("#hear")
        assert visit.evaluate("document.activeElement.id") == "again"


@needs_chromium
def test_what_goes_wrong_is_said(launch, address, tmp_path):
    with visited(launch, address, None, tmp_path) as visit:
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
def test_over_https_a_phone_that_goes_on_can_record(launch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with served("coffee", "--takes", "1", "--host", "0.0.0.0", folder=tmp_path) as lines:
        here = re.sub(r"//[\d.]+:", "//127.0.0.1:", lines[0].split()[0])
        with visited(launch, here, spoken(), tmp_path, ignore_https_errors=True) as visit:
            visit.fill("#speaker", "bob")
            visit.click("#start")
            record_until(visit, [])
            visit.click("#keep")
            visit.wait_for_selector("[data-state=who]")
    assert files() == ["coffee/bob/1.flac"]
