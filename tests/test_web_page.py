"""What a browser makes of the page of `kws web`: the words, the numbers, the messages, and whom it asks."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from conftest import ROOT, source_of, tone

from kws.core import paths
from kws.recordings.manifest import read_recordings, spoken_rows
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec
from kws.spotting import cli
from kws.spotting.detect import Timing, detections
from kws.web import litert_js

pytest.importorskip("playwright", reason="needs the package playwright: make test installs it")
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP kws.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
WORDS = [0, 0, 300, 0, 0, 3000, 0, 0]  # Hz, one a second: low after two seconds, high after five
DEADLINE = 120_000  # ms; nothing here takes so long

if CHROMIUM is None and MAC.exists():
    CHROMIUM = str(MAC)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome"),
    pytest.mark.skipif(
        os.environ.get("KWS_NETWORK") != "1"
        and not all((litert_js.cache() / package.archive).exists() for package in litert_js.PACKAGES),
        reason="needs LiteRT.js: KWS_NETWORK=1, or kws web once, downloads it",
    ),
]


class Visit:
    """An open page, and all that happened in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.requests: list[str] = []
        self.problems: list[str] = []
        page.set_default_timeout(DEADLINE)
        page.context.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda line: line.type == "error" and self.problems.append(line.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("requestfailed", lambda request: self.problems.append(request.url))

    def open(self) -> None:
        self.page.goto(self.address)
        self.page.wait_for_selector("[data-state=ready]")

    def read(self, path: Path) -> list[dict[str, Any]]:
        """The words that the page finds in a file, in their order."""
        self.page.set_input_files("#file", path)
        self.page.wait_for_selector("[data-state=reading]", state="detached")
        return self.found()

    def found(self) -> list[dict[str, Any]]:
        rows = self.page.evaluate("[...document.querySelectorAll('#rows tr')].map(row => ({...row.dataset}))")
        return [
            {"start": float(row["start"]), "word": row["word"], "score": float(row["score"])} for row in reversed(rows)
        ]

    def replace(self, name: str, body: bytes, kind: str) -> None:
        """Has the server give something else for a file."""
        self.page.route(f"**/{name}", lambda route: route.fulfill(body=body, content_type=kind))

    def text(self, name: str) -> str:
        return self.page.inner_text(f"#{name}")


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The address of the page with a model, as `kws web` prints it."""
    command = [sys.executable, "-m", "kws", "web", "--port", "0", "--model", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.terminate()


@contextmanager
def hosted(folder: Path) -> Iterator[int]:
    """The port of a static host with a folder."""
    host = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    threading.Thread(target=host.serve_forever).start()
    try:
        yield host.server_port
    finally:
        host.shutdown()
        host.server_close()


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Browser]]:
    """Starts a browser with these arguments, which reaches no machine but this one."""
    with sync_playwright() as playwright:
        yield lambda *more: playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *more])


@pytest.fixture(scope="module")
def address(exported) -> Iterator[str]:
    with served(exported / "kws.tflite") as address:
        yield address


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    """A file in which the words of the exported network are said.

    It has 24 bits: of 16, Chromium takes 32767 for full scale where a sample is above zero, and 32768 below. That bit
    counts beside the digital silence around these tones.
    """
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.concatenate([tone(hertz) for hertz in WORDS]), 16_000, subtype="PCM_24")
    return path


@pytest.fixture(scope="module")
def chromium(launch, talk) -> Iterator[Browser]:
    """A browser whose microphone hears the file, again and again."""
    heard = talk.with_name("heard.wav")
    soundfile.write(heard, soundfile.read(talk)[0], 16_000, subtype="PCM_16")  # which Chromium's microphone reads
    devices = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    chromium = launch(*devices, f"--use-file-for-fake-audio-capture={heard}")
    yield chromium
    chromium.close()


@pytest.fixture
def visit(chromium, address) -> Iterator[Visit]:
    context = chromium.new_context()
    visit = Visit(context.new_page(), address)
    visit.open()
    yield visit
    context.close()


def listened(model: Path, path: Path, capsys: pytest.CaptureFixture, *options: str) -> list[dict[str, Any]]:
    """What `kws listen` finds in a file."""
    capsys.readouterr()
    assert cli.main(["listen", "--json", "--model", str(model), "--source", str(path), *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [(one["word"], round(one["start"], 3)) for one in found] == [(one["word"], one["start"]) for one in expected]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in expected], abs=1e-3)


@pytest.mark.parametrize("name", ["kws.tflite", "kws_int8.tflite", "kws_stream.tflite"])
def test_a_file_has_the_same_words_as_on_the_command_line(chromium, exported_causal, talk, name, capsys):
    with served(exported_causal / name) as address:
        visit = Visit(chromium.new_page(), address)
        visit.open()
        assert len(visit.read(talk)) == 2
        found = visit.read(talk)  # again: a network that hears step by step begins anew
    expected = listened(exported_causal / name, talk, capsys)
    assert [one["word"] for one in expected] == ["low", "high"]
    assert_same(found, expected)
    assert visit.text("detail") == "talk.wav: 0:08.0, 2 words"
    assert visit.problems == []


def test_any_static_host_will_do_and_any_folder_of_it(chromium, exported, talk, tmp_path):
    assert cli.main(["web", "--model", str(exported / "kws.tflite"), "--out", str(tmp_path / "a" / "folder")]) == 0
    with hosted(tmp_path) as port:
        visit = Visit(chromium.new_page(), f"http://127.0.0.1:{port}/a/folder/")
        visit.open()
        assert [one["word"] for one in visit.read(talk)] == ["low", "high"]
        assert {url for url in visit.requests if not url.startswith((visit.address, "data:"))} == set()
        assert visit.problems == []


@pytest.mark.parametrize("name", ["kws.tflite", "kws_int8.tflite"])
def test_a_trained_network_has_the_same_probabilities_in_every_window(chromium, finished, name):
    model = finished.root / "models" / "export" / name
    spotter = cli.Spotter.load(model)
    rows = spoken_rows(finished.root / paths.MANIFEST, "test")
    source = source_of(finished.root / DataSource.read(finished.root / paths.SOURCE).archive_of("test"))
    front_end = FeatureSpec.read(finished.root / paths.SPEC).front_end
    sound = np.concatenate([clip.waveform for clip in read_recordings(rows, source, front_end)])
    expected = np.array(list(spotter.windows([sound])))
    with served(model) as address:
        visit = Visit(chromium.new_page(), address)
        visit.open()
        found = visit.page.evaluate(
            """async (samples) => {
              const {Sound} = await import("./spotter.js");
              const sound = await Sound.create(await (await fetch("kws.json")).json());
              const found = [];
              for (let at = 0; at < samples.length; at += 5000) {
                const block = Float32Array.from(samples.slice(at, at + 5000));
                for await (const probabilities of sound.push(block)) found.push([...probabilities]);
              }
              for await (const probabilities of sound.end()) found.push([...probabilities]);
              return found;
            }""",
            sound.tolist(),
        )
    assert expected.max() > 0.5
    assert np.array(found) == pytest.approx(expected, abs=1e-3)


def test_a_file_of_another_rate_with_two_channels_has_the_same_words(visit, exported, tmp_path, capsys):
    long = np.concatenate([tone(hertz, 44_100) for hertz in WORDS])
    soundfile.write(tmp_path / "long.flac", np.stack([1.2 * long, 0.8 * long], axis=1), 44_100)
    found = visit.read(tmp_path / "long.flac")
    expected = listened(exported / "kws.tflite", tmp_path / "long.flac", capsys)
    assert [one["word"] for one in found] == ["low", "high"] == [one["word"] for one in expected]
    assert [one["start"] for one in found] == pytest.approx([one["start"] for one in expected], abs=0.11)


@pytest.mark.parametrize("name", ["kws.tflite", "kws_stream.tflite"])
def test_a_clip_has_the_likeliest_classes(chromium, exported_causal, tmp_path, name, capsys):
    soundfile.write(tmp_path / "clip.wav", np.pad(tone(300), (0, 1500)), 16_000)
    model = exported_causal / name
    with served(model) as address:
        visit = Visit(chromium.new_page(), address)
        visit.open()
        [found] = visit.read(tmp_path / "clip.wav")
        detail = visit.text("detail")
    capsys.readouterr()
    assert cli.main(["predict", "--json", "--model", str(model), str(tmp_path / "clip.wav")]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert (found["word"], found["start"]) == (answers[0]["word"], 0)
    assert found["score"] == pytest.approx(answers[0]["probability"], abs=1e-3)
    shown = re.fullmatch(r"clip\.wav: one clip: (.*)", detail)[1].split(", ")
    assert [one.split()[0] for one in shown] == [one["word"].strip("_") for one in answers]
    shares = [float(one.split()[1]) for one in shown]
    assert shares == pytest.approx([100 * one["probability"] for one in answers], abs=0.11)


def test_the_words_of_the_microphone_appear_and_nobody_else_is_asked(visit, talk):
    visit.page.click("#listen")
    for word in ("low", "high"):
        visit.page.wait_for_selector(f"#rows tr[data-word={word}]")
    assert visit.page.get_attribute("body", "data-state") == "listening"
    visit.page.wait_for_selector("#level:not([aria-valuenow='-60.00'])")
    visit.page.click("#listen")
    visit.page.wait_for_selector("[data-state=ready]")
    heard = len(visit.found())
    assert {one["word"] for one in visit.found()} == {"low", "high"}
    visit.page.wait_for_timeout(1000)
    assert len(visit.found()) == heard  # it does not listen on
    assert [one["word"] for one in visit.read(talk)] == ["low", "high"]  # and a file starts a new list
    assert visit.problems == []
    assert {url for url in visit.requests if not url.startswith((f"{visit.address}/", "data:"))} == set()


def test_another_sensitivity_looks_at_the_file_again(visit, exported, talk, capsys):
    visit.read(talk)
    for name in ("few_misses", "few_false_alarms", "balanced"):
        visit.page.check(f"[value={name}]", force=True)
        option = name.replace("_", "-")
        assert_same(visit.found(), listened(exported / "kws.tflite", talk, capsys, "--sensitivity", option))
    assert visit.text("meaning") == (
        "Threshold 0.6. In the test: 0.76 false alarms an hour, 9.2 % of the words missed."
    )


def test_what_is_no_sound_is_said_and_the_next_file_is_read(visit, talk, tmp_path):
    (tmp_path / "notes.wav").write_text("no sound")
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    assert visit.read(tmp_path / "notes.wav") == []
    assert visit.text("message") == "notes.wav: no sound that this browser can read."
    assert visit.read(tmp_path / "silent.wav") == []
    assert visit.text("message") == "silent.wav: silent: every sample is the same."
    assert len(visit.read(talk)) == 2
    assert not visit.page.is_visible("#message")
    assert visit.problems == []


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_is_that_of_python(visit, seed):
    rng = np.random.default_rng(seed)
    windows = rng.dirichlet([0.4] * 4, size=400).repeat(rng.integers(1, 6, size=400), axis=0).astype(np.float32)
    timing, words = Timing(1, 1, held=1 + seed, apart=3 * seed), [0, 2, 3]
    expected = [(one.window, one.word, one.score) for one in detections(windows, words, timing, 0.6)]
    found = visit.page.evaluate(
        """async ([words, timing, windows]) => {
          const {Detector} = await import("./spotter.js");
          const detector = new Detector({words, timing});
          return windows.map((each) => detector.push(each, 0.6)).filter(({detected}) => detected);
        }""",
        [words, {"held": timing.held, "apart": timing.apart}, windows.tolist()],
    )
    assert len(expected) > 20
    assert [(one["window"], one["word"]) for one in found] == [each[:2] for each in expected]
    assert [one["score"] for one in found] == pytest.approx([each[2] for each in expected], abs=1e-6)


@pytest.mark.parametrize("threshold", [0.1, 0.7, 0.3])  # as float32: above, below, above
def test_a_score_at_the_threshold_is_detected_as_by_python(visit, threshold):
    score = np.float32(threshold)
    windows = np.array([[np.nextafter(score, np.float32(0))], [score]], np.float32)
    timing = Timing(1, 1, held=1, apart=1)
    assert [one.window for one in detections(windows, [0], timing, threshold)] == [1]
    found = visit.page.evaluate(
        """async ([windows, threshold]) => {
          const {Detector} = await import("./spotter.js");
          const detector = new Detector({words: [0], timing: {held: 1, apart: 1}});
          return windows.map((each) => detector.push(each, threshold).detected);
        }""",
        [windows.tolist(), threshold],
    )
    assert found == [False, True]


def test_a_page_that_listens_keeps_the_newest_words_alone(visit, talk):
    source = (ROOT / "src" / "kws" / "web" / "static" / "page.js").read_text(encoding="utf-8")
    shorter = source.replace("MOST_ROWS = 100", "MOST_ROWS = 1")
    assert shorter != source
    visit.replace("page.js", shorter.encode(), "text/javascript")
    visit.open()
    visit.page.click("#listen")
    for word in ("low", "high", "low"):
        visit.page.wait_for_selector(f"#rows tr:first-child[data-word={word}]", state="attached")
        assert [one["word"] for one in visit.found()] == [word]
    visit.page.click("#listen")
    assert len(visit.read(talk)) == 2  # a file keeps all


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_the_microphones_sound_is_resampled_as_by_a_library(visit, rate):
    rng = np.random.default_rng(rate)
    sound = np.convolve(rng.normal(size=rate), np.hanning(5), "same").astype(np.float32)
    found = np.array(
        visit.page.evaluate(
            """async ([rate, sound]) => {
              const {Resampler} = await import("./resampler.js");
              const resampler = new Resampler(rate, 16000), found = [];
              for (let at = 0; at < sound.length; at += 2048) {
                found.push(...resampler.push(Float32Array.from(sound.slice(at, at + 2048))));
              }
              return found;
            }""",
            [rate, sound.tolist()],
        )
    )
    expected = soxr.resample(sound, rate, 16_000, quality="VHQ")
    assert 0 <= len(expected) - len(found) < 200  # of the last ones, the samples behind them have not come
    inner = slice(200, len(found) - 200)
    difference = np.fft.rfft((found - expected[: len(found)])[inner] * np.hanning(len(found) - 400))
    level = np.fft.rfft(expected[inner] * np.hanning(len(found) - 400))
    hertz = np.linspace(0, 8000, len(level))
    passed = hertz < min(rate / 2, 8000) * 0.9
    assert 20 * np.log10(np.linalg.norm(difference[passed]) / np.linalg.norm(level[passed])) < -60
    above = np.sin(2 * np.pi * 9000 / rate * np.arange(rate)) if rate > 18_000 else None
    if above is not None:  # a tone that 16 kHz cannot hold is gone
        gone = visit.page.evaluate(
            """async ([rate, sound]) => {
              const {Resampler} = await import("./resampler.js");
              return [...new Resampler(rate, 16000).push(Float32Array.from(sound))];
            }""",
            [rate, above.tolist()],
        )
        assert np.abs(gone[200:-200]).max() < 1e-3


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("--use-fake-device-for-media-stream", "The microphone was refused. Allow it beside the address"),
        (
            "--use-fake-ui-for-media-stream",
            "No microphone was found. Connect one, then try again. Sound files work here, too.",
        ),
    ],
)
def test_a_microphone_that_is_refused_or_missing_is_told(launch, address, argument, reason):
    with launch(argument) as chromium:
        visit = Visit(chromium.new_page(), address)
        visit.open()
        visit.page.click("#listen")
        visit.page.wait_for_selector("#message:visible")
        assert visit.text("message").startswith(reason)
        assert visit.page.get_attribute("body", "data-state") == "ready"
        assert visit.problems == []


def test_an_address_that_is_not_secure_is_told_and_files_are_read_there(chromium, exported, talk, tmp_path):
    assert cli.main(["web", "--model", str(exported / "kws.tflite"), "--out", str(tmp_path)]) == 0
    with hosted(tmp_path) as port:
        visit = Visit(chromium.new_page(), f"http://kws.test:{port}")
        visit.open()
        visit.page.click("#listen")
        visit.page.wait_for_selector("#message:visible")
        assert visit.text("message").startswith(
            f"Browsers give no microphone to {visit.address}: it is not a secure address."
        )
        assert [one["word"] for one in visit.read(talk)] == ["low", "high"]
        assert visit.problems == []


def test_the_build_for_older_browsers_gives_the_same_numbers(chromium, address, talk, exported, capsys):
    visit = Visit(chromium.new_page(), address)
    files = litert_js.litert_js()
    for name, kind in (
        ("litert_wasm_{}internal.js", "text/javascript"),
        ("litert_wasm_{}internal.wasm", "application/wasm"),
    ):
        visit.replace(name.format(""), files[f"litert/{name.format('compat_')}"], kind)
    visit.open()
    assert_same(visit.read(talk), listened(exported / "kws.tflite", talk, capsys))


def test_a_device_that_is_too_slow_says_how_much_is_lost(chromium, address):
    visit = Visit(chromium.new_page(), address)
    own = (ROOT / "src" / "kws" / "web" / "static" / "spotter.js").read_text()
    slow = own.replace("async *push(samples) {", "async *push(samples) {\n    await new Promise(() => {});")
    assert slow != own
    visit.replace("spotter.js", slow.encode(), "text/javascript")
    visit.open()
    visit.page.click("#listen")
    visit.page.wait_for_selector("#message:visible")
    assert visit.text("message") == "This device is too slow for this model: 1 s of sound are lost."


def test_a_model_that_is_missing_is_said(chromium, address):
    visit = Visit(chromium.new_page(), address)
    visit.page.route("**/model.tflite", lambda route: route.fulfill(status=404, body=""))
    visit.page.goto(address)
    visit.page.wait_for_selector("#message:visible")
    assert visit.text("message").startswith("This page does not work here: model.tflite: 404")
    assert visit.page.is_disabled("#listen")
