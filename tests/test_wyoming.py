"""`kws wyoming`, asked by the public client library, as Home Assistant asks it."""

import asyncio
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import tone
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.server import AsyncTcpServer
from wyoming.wake import Detect, Detection, NotDetected

from kws.spotting import cli, wyoming
from kws.spotting.spotter import Spotter

HOST = "127.0.0.1"
PATIENCE = 60  # seconds until a test gives up
WORDS = [0, 0, 300, 0, 0, 3000, 0, 0]  # Hz, one a second: low after two seconds, high after five
PLAIN = (16_000, 2, 1)  # Hz, bytes a sample, channels
SUBTYPES = {1: "PCM_U8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}


def stream(tones: list[float] = WORDS, rate: int = 16_000) -> np.ndarray:
    return np.concatenate([tone(hertz, rate) for hertz in tones])


def pcm(sound: np.ndarray) -> bytes:
    return np.rint(sound * 2**15).astype("<i2").tobytes()


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return one.getsockname()[1]


class Server:
    """`kws wyoming` in a process of its own."""

    def __init__(self, model: Path, folder: Path, *options: str, host: str = HOST):
        self.port = free_port()
        self.out, self.err = folder / "out", folder / "err"
        command = [sys.executable, "-m", "kws", "wyoming", "--uri", f"tcp://{host}:{self.port}", "--model", str(model)]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen([*command, *options], stdout=out, stderr=err)
        self.wait_for("listening on")

    def wait_for(self, told: str, count: int = 1) -> list[str]:
        """The lines on stderr that hold a text, as soon as there are so many."""
        pause = threading.Event()
        for _ in range(100 * PATIENCE):
            found = [line for line in self.err.read_text().splitlines() if told in line]
            if len(found) >= count:
                return found
            assert self.process.poll() is None, self.err.read_text()
            pause.wait(0.01)
        raise AssertionError(f"{told!r} is not in {self.err.read_text()!r}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(exported, tmp_path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def run(*options: str, model: Path = exported / "kws.tflite", **settings) -> Server:
        servers.append(Server(model, tmp_path, *options, **settings))
        return servers[-1]

    yield run
    for server in servers:
        server.process.kill()
        server.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def server(exported, tmp_path_factory) -> Iterator[Server]:
    running = Server(exported / "kws.tflite", tmp_path_factory.mktemp("server"))
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.err.read_text()


def client(server: Server) -> AsyncTcpClient:
    return AsyncTcpClient(HOST, server.port, connect_timeout=PATIENCE, read_timeout=PATIENCE)


async def say(connected: AsyncTcpClient, content: bytes, form=PLAIN, at=None, size=1000) -> None:
    """Sends a sound from its start to its stop, so many samples at a time."""
    await connected.write_event(AudioStart(*form).event())
    size *= form[1] * form[2]
    for first in range(0, len(content), size):
        chunk = AudioChunk(*form, content[first : first + size], at if first == 0 else None)
        await connected.write_event(chunk.event())
    await connected.write_event(AudioStop().event())


async def answers(connected: AsyncTcpClient) -> list[Event]:
    """All answers until nothing comes: behind what was sent, a question is sent whose answer is known."""
    await connected.write_event(Describe().event())
    found = []
    while (event := await connected.read_event()) is not None and not Info.is_type(event.type):
        found.append(event)
    return found


def heard(events: list[Event]) -> list[tuple[str, int]]:
    return [(one.name, one.timestamp) for one in map(Detection.from_event, events)]


def ask(server: Server, *events: Event, sound: bytes | None = None, **settings) -> list[Event]:
    """The answers to events and a sound of a client."""

    async def run() -> list[Event]:
        async with client(server) as connected:
            for event in events:
                await connected.write_event(event)
            if sound is not None:
                await say(connected, sound, **settings)
            return await answers(connected)

    return asyncio.run(run())


def together(server: Server, sounds: list[bytes]) -> list[list[tuple[str, int]]]:
    """What clients hear that send a sound each, at the same time."""

    async def one(sound: bytes) -> list[Event]:
        async with client(server) as connected:
            await say(connected, sound, size=160)
            return await answers(connected)

    async def run() -> list[list[Event]]:
        return await asyncio.gather(*map(one, sounds))

    return [heard(found) for found in asyncio.run(run())]


def listened(model: Path, path: Path, capsys) -> list[tuple[str, int]]:
    """Words and times, in ms, that `kws listen` prints of a file: the end of the window whose start it tells."""
    assert cli.main(["listen", "--json", "--model", str(model), "--source", str(path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [(line["word"], round(1000 * line["start"]) + 1000) for line in lines]


def test_info_names_each_word_as_a_wake_word(server):
    async def describe() -> Event | None:
        async with client(server) as connected:
            await connected.write_event(Describe().event())
            return await connected.read_event()

    [program] = Info.from_event(asyncio.run(describe())).wake
    assert (program.name, program.installed, program.version) == ("kws", True, version("kws"))
    assert program.attribution.name == "kws"
    assert [(model.name, model.phrase, model.description) for model in program.models] == [
        ("low", "low", "low"),
        ("high", "high", "high"),
    ]
    for model in program.models:
        assert model.installed
        assert model.languages == []
        assert re.fullmatch("[0-9a-f]{12}", model.version)
        assert model.attribution.name == "kws"


def test_detections_and_their_times_are_those_of_listen(server, exported, tmp_path, capsys):
    sound = stream()
    soundfile.write(tmp_path / "long.wav", sound, 16_000, "PCM_16")
    expected = listened(exported / "kws.tflite", tmp_path / "long.wav", capsys)
    assert [word for word, _ in expected] == ["low", "high"]
    found = ask(server, sound=pcm(sound))
    assert [event.type for event in found] == ["detection", "detection"]
    assert heard(found) == expected
    printed = [line.split("  ")[1:3] for line in server.out.read_text().splitlines()[-2:]]
    assert printed == [[f"{at / 1000:.1f} s", word] for word, at in expected]


@pytest.mark.parametrize(
    "form", [(44_100, 2, 2), (8000, 2, 1), (48_000, 3, 6), (22_050, 1, 1), (16_000, 4, 1)], ids=str
)
def test_sound_of_any_format_is_heard(server, exported, tmp_path, capsys, form):
    rate, width, channels = form
    sound = np.stack([stream(rate=rate)] * channels, axis=1)
    soundfile.write(tmp_path / "a.wav", sound, rate, SUBTYPES[width])
    soundfile.write(tmp_path / "a.raw", sound, rate, SUBTYPES[width], "LITTLE", "RAW")
    expected = listened(exported / "kws.tflite", tmp_path / "a.wav", capsys)
    found = heard(ask(server, sound=(tmp_path / "a.raw").read_bytes(), form=form))
    assert found == expected
    assert [word for word, _ in found] == ["low", "high"]


@pytest.fixture(
    params=[
        "exported/kws_int8.tflite",
        "exported_causal/kws_stream.tflite",
        "exported_micro/kws.tflite",
        "exported_micro/kws_stream.tflite",
    ]
)
def model(request) -> Path:
    folder, file = request.param.split("/")
    return request.getfixturevalue(folder) / file


def test_each_kind_of_model_gives_two_clients_what_listen_prints(model, start, tmp_path, capsys):
    server = start(model=model)
    sounds = [stream(), stream([0, 3000, 0, 0, 300, 0, 3000, 0])]
    contents, expected = [], []
    for number, sound in enumerate(sounds):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, sound, 16_000, "PCM_16")
        contents.append(soundfile.read(path, dtype="int16")[0].tobytes())
        expected.append(listened(model, path, capsys))
    assert [len(found) for found in expected] == [2, 3]
    assert together(server, contents) == expected


def test_eight_clients_at_once_get_their_own_detections(server, exported):
    rng = np.random.default_rng(1)
    spotter = Spotter.load(exported / "kws.tflite")
    sounds, expected = [], []
    for _ in range(8):
        tones = [hertz for word in rng.choice([300, 3000], 5) for hertz in (word, *[0] * int(rng.integers(1, 4)))]
        quiet = np.zeros(int(rng.integers(16_000)), np.float32)
        sounds.append(pcm(np.concatenate([quiet, stream(tones)])))
        samples = np.frombuffer(sounds[-1], "<i2") * np.float32(2**-15)
        found = list(spotter.detect([samples], spotter.threshold))
        times = [1000 + round(1000 * one.window * spotter.step_samples / 16_000) for one in found]
        expected.append(list(zip([spotter.classes[one.word] for one in found], times, strict=True)))
    assert all(len(found) >= 3 for found in expected)
    assert len({tuple(found) for found in expected}) == 8

    assert together(server, sounds) == expected


def test_without_a_word_the_end_of_the_sound_says_so(server):
    for found in (ask(server, sound=pcm(stream([0, 0]))), ask(server, sound=b""), ask(server, AudioStop().event())):
        assert [event.type for event in found] == ["not-detected"]


def test_names_choose_the_words_and_the_context_comes_back(server):
    asked = Detect(names=["high"], context={"turn": 3}).event()
    [found] = ask(server, asked, sound=pcm(stream()))
    assert Detection.from_event(found).name == "high"
    assert Detection.from_event(found).context == {"turn": 3}
    [found] = ask(server, asked, sound=pcm(stream([0, 300, 0])))
    assert NotDetected.from_event(found).context == {"turn": 3}
    for everything in (Detect(), Detect(names=[])):
        assert [word for word, _ in heard(ask(server, everything.event(), sound=pcm(stream())))] == ["low", "high"]


def test_names_of_no_word_are_a_line_and_detect_nothing(server):
    [found] = ask(server, Detect(names=["hey\njarvis"]).event(), sound=pcm(stream()))
    assert NotDetected.is_type(found.type)
    [line] = server.wait_for("jarvis")
    assert line.endswith(r": asks for 'hey\njarvis', which the model does not know; it knows low, high")


def test_a_connection_takes_one_sound_after_the_other_in_the_time_of_the_client(server):
    sound = pcm(stream([0, 300, 0]))

    async def run() -> list[list[Event]]:
        async with client(server) as connected:
            found = []
            for at in (None, 5_000_000):
                await say(connected, sound, at=at)
                found.append(await answers(connected))
            await connected.write_event(AudioStart(*PLAIN, timestamp=7000).event())  # no stop
            await connected.write_event(AudioChunk(*PLAIN, sound).event())
            await say(connected, sound)
            found.append(await answers(connected))
            return found

    first, second, third = map(heard, asyncio.run(run()))
    [(word, at)] = first
    assert word == "low"
    assert second == [("low", 5_000_000 + at)]
    assert third == [("low", 7000 + at), ("low", at)]


def test_sound_without_a_start_is_heard(server):
    chunk = AudioChunk(*PLAIN, pcm(stream())).event()
    assert [word for word, _ in heard(ask(server, chunk, AudioStop().event()))] == ["low", "high"]


CHUNK = {"rate": 16_000, "width": 2, "channels": 1}


def header(kind: str, payload: bytes = b"", **data) -> bytes:
    return json.dumps({"type": kind, "data": data, "payload_length": len(payload)}).encode() + b"\n" + payload


RUBBISH = {
    "no event of Wyoming: b'hello\\n'": b"hello\n",
    "no event of Wyoming: b'[1, 2]\\n'": b"[1, 2]\n",
    "no event of Wyoming: b'{}\\n'": b"{}\n",
    'no event of Wyoming: b\'{"type": "detect", "data": 5}\\n\'': b'{"type": "detect", "data": 5}\n',
    'no event of Wyoming: b\'{"type": "a", "payload_length": "x"}\\n\'': b'{"type": "a", "payload_length": "x"}\n',
    f"no event of Wyoming: {40 * b'['!r}": 50_000 * b"[" + b"\n",
    "no event: a line without an end": 200_000 * b"a",
    "left in the middle of an event": header("audio-chunk", bytes(100), **CHUNK)[:-50],
    "an event of 1,048,577 bytes, more than 1,048,576": header("audio-chunk", bytes(2**20 + 1), **CHUNK),
    "an event of 1,000,000,000,000 bytes, more": b'{"type": "audio-chunk", "payload_length": 1000000000000}\n',
    "an event of 9,000,000 bytes, more": b'{"type": "detect", "data_length": 9000000}\n',
    "audio-chunk without rate, width and channels": header("audio-chunk", bytes(4), rate=16_000),
    "audio-start: rate is no whole number: 'fast'": header("audio-start", **CHUNK | {"rate": "fast"}),
    "audio-start: channels is no whole number: 'True'": header("audio-start", **CHUNK | {"channels": True}),
    "audio-chunk: timestamp is no whole number: '0.5'": header("audio-chunk", bytes(2), **CHUNK, timestamp=0.5),
    "samples of 7 bytes; 1, 2, 3, 4 are known": header("audio-chunk", bytes(7), **CHUNK | {"width": 7}),
    "-1 channels": header("audio-start", **CHUNK | {"channels": -1}),
    "a sample rate of 5 Hz": header("audio-start", **CHUNK | {"rate": 5}),
    "a chunk of 3 bytes is no whole number of samples of 16000 Hz, 16": header("audio-chunk", bytes(3), **CHUNK),
    "the format changes from 16000 Hz, 16 bits, 1 channels to 8000 Hz, 16": (
        header("audio-chunk", bytes(4), **CHUNK) + header("audio-chunk", bytes(4), **CHUNK | {"rate": 8000})
    ),
    "detect: names are no list of texts": header("detect", names="low"),
    "detect: the context is no object": header("detect", context=[1]),
    "detect: the context cannot be sent back": header("detect", context={"a": "\ud800"}),
    "audio-start: width is no whole number: '\\ud800'": header("audio-start", **CHUNK | {"width": "\ud800"}),
}


@pytest.mark.parametrize("told", RUBBISH)
def test_rubbish_costs_its_own_connection_and_gives_one_line(server, told):
    before = server.err.read_text()

    async def run() -> list[Event]:
        async with client(server) as connected:
            sound = pcm(stream())
            await connected.write_event(AudioStart(*PLAIN).event())
            await connected.write_event(AudioChunk(*PLAIN, sound[:100_000]).event())
            reader, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(RUBBISH[told])
            try:
                writer.write_eof()
                refused = await asyncio.wait_for(reader.read(), PATIENCE)
            except OSError:  # it is closed already: what was sent is not read to its end
                refused = b""
            writer.close()
            if refused:
                assert json.loads(refused.splitlines()[0])["type"] == "error"
            await connected.write_event(AudioChunk(*PLAIN, sound[100_000:]).event())
            await connected.write_event(AudioStop().event())
            return await answers(connected)

    assert [word for word, _ in heard(asyncio.run(run()))] == ["low", "high"]
    [line] = server.wait_for(f": {told}")[-1:]
    assert line.endswith("; the connection is closed")
    assert server.err.read_text() == f"{before}{line}\n"


def test_a_refused_client_is_told_why(server):
    [found] = ask(server, Detect(names=5).event())
    assert Error.from_event(found).text == "detect: names are no list of texts"


def test_a_client_that_closes_the_connection_after_its_detection_is_no_problem(server):
    before = server.err.read_text()

    async def run() -> Event | None:  # as Home Assistant does
        async with client(server) as connected:
            await connected.write_event(Detect(names=["low"]).event())
            await connected.write_event(AudioStart(*PLAIN).event())
            for _ in range(2):
                await connected.write_event(AudioChunk(*PLAIN, pcm(stream())).event())
            return await connected.read_event()

    assert Detection.from_event(asyncio.run(run())).name == "low"
    assert ask(server) == []
    assert server.err.read_text() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_the_middle_of_a_stream(start, number):
    server = start()

    async def run() -> tuple[int, Event | None]:
        async with client(server) as connected:
            await connected.write_event(AudioStart(*PLAIN).event())
            await connected.write_event(AudioChunk(*PLAIN, pcm(stream())).event())
            first = await connected.read_event()
            assert Detection.is_type(first.type)
            code = await asyncio.to_thread(server.stop, number)
            while (event := await connected.read_event()) is not None:
                assert Detection.is_type(event.type)
            return code, event

    assert asyncio.run(run()) == (0, None)
    assert len(server.err.read_text().splitlines()) == 1


def test_it_says_on_which_address_it_listens_and_for_what(start):
    server = start("--sensitivity", "few-misses")
    told = f"listening on tcp://127.0.0.1:{server.port} for low, high; kws.tflite; threshold 0.45; Ctrl-C stops\n"
    assert server.err.read_text() == told


def test_an_address_that_others_reach_is_said_to_be_one(start):
    server = start(host="0.0.0.0")
    [line] = server.wait_for("warning")
    assert line == "warning: whoever reaches this address may use it, since Wyoming knows no passwords"
    assert ask(server) == []


@pytest.mark.parametrize(
    "uri", ["127.0.0.1:10400", "tcp://127.0.0.1", "tcp://:1", "tcp://h:99999", "unix:///tmp/a", "tcp://h:1/a"]
)
def test_what_is_no_address_is_one_line(exported, capsys, uri):
    assert cli.main(["wyoming", "--model", str(exported / "kws.tflite"), "--uri", uri]) == 1
    told = capsys.readouterr().err
    assert told == f"error: {uri}: is no address; write tcp://HOST:PORT, such as tcp://127.0.0.1:10400\n"


def test_an_address_that_cannot_be_had_is_one_line(server, exported, capsys):
    reasons = {
        f"tcp://127.0.0.1:{server.port}": os.strerror(errno.EADDRINUSE),
        "tcp://192.0.2.1:20": ".+",  # differs between versions of Python
        "tcp://nowhere.invalid:20": ".+",
    }
    for uri, reason in reasons.items():
        assert cli.main(["wyoming", "--model", str(exported / "kws.tflite"), "--uri", uri]) == 1
        told = capsys.readouterr().err
        assert re.fullmatch(f"error: {uri}: {reason}; --uri gives another address\n", told)
        assert "Success" not in told


def test_without_the_package_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "kws.spotting.wyoming")
    monkeypatch.setitem(sys.modules, "wyoming.audio", None)
    assert cli.main(["wyoming"]) == 1
    assert capsys.readouterr().err == "error: kws wyoming needs the package wyoming: pip install 'kws[wyoming]'\n"


def test_a_network_that_hears_step_by_step_is_preferred(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["wyoming"]) == 1
    assert capsys.readouterr().err.startswith("error: models/export/kws.tflite: no such model")
    Path("models/export").mkdir(parents=True)
    Path("models/export/kws_stream.tflite").write_text("damaged")
    assert cli.main(["wyoming"]) == 1
    assert capsys.readouterr().err.startswith("error: models/export/kws_stream.tflite: not a model")


def test_a_model_that_takes_features_is_refused(exported, capsys):
    assert cli.main(["wyoming", "--model", str(exported / "kws_features.tflite")]) == 1
    assert capsys.readouterr().err.startswith("error: this model takes features, not sound")


class Held:
    """A spotter that hears nothing until it is let go."""

    classes, words, sample_rate, clip_samples, step_samples = ["low"], [0], 16_000, 16_000, 1600

    def __init__(self):
        self.go = threading.Event()
        self.blocks = 0

    def detect(self, blocks, threshold):  # noqa: ARG002
        assert self.go.wait(PATIENCE)
        for _ in blocks:
            self.blocks += 1
        yield from ()


@pytest.fixture
def served(monkeypatch):
    """Runs a coroutine beside a server in this process, whose spotters are held."""

    def run(talk: Callable[[int, list[Held]], object]) -> None:
        spotters: list[Held] = []

        def spotter(_) -> Held:
            spotters.append(Held())
            return spotters[-1]

        monkeypatch.setattr(wyoming.Service, "spotter", spotter)

        async def both(pool: ThreadPoolExecutor) -> None:
            port = free_port()
            server = AsyncTcpServer(HOST, port)
            await server.start(partial(wyoming.Client, wyoming.Service(b"", 0.5, pool)))
            try:
                await asyncio.wait_for(talk(port, spotters), PATIENCE)
            finally:
                for one in spotters:
                    one.go.set()
                await server.stop()

        with ThreadPoolExecutor(8) as pool:
            asyncio.run(both(pool))

    return run


def test_a_client_waits_while_its_sound_is_not_heard(served):
    async def talk(port: int, spotters: list[Held]) -> None:
        chunk = header("audio-chunk", bytes(2**20), **CHUNK)
        reader, writer = await asyncio.open_connection(HOST, port)
        taken = 0

        async def send() -> None:
            nonlocal taken
            for _ in range(64):
                writer.write(chunk)
                await writer.drain()
                taken += 1
            writer.write(header("audio-stop"))

        sending = asyncio.create_task(send())
        async with AsyncTcpClient(HOST, port) as other:  # the server answers others meanwhile
            for _ in range(20):
                await other.write_event(Describe().event())
                assert Info.is_type((await other.read_event()).type)
                await asyncio.sleep(0.01)
        assert taken < 32
        spotters[-1].go.set()
        await sending
        assert b"not-detected" in await reader.readline()
        assert spotters[-1].blocks == 64 * -(-(2**19) // 16_000) + 1
        writer.close()

    served(talk)


def test_the_network_of_a_stream_is_gone_before_the_stream_is(served, monkeypatch):
    kept = []
    make = wyoming._Stream
    monkeypatch.setattr(wyoming, "_Stream", lambda *given: kept.append(make(*given)) or kept[-1])

    async def until(done: Callable[[], bool]) -> None:
        for _ in range(100 * PATIENCE):
            if done():
                return
            await asyncio.sleep(0.01)
        raise AssertionError

    async def talk(port: int, spotters: list[Held]) -> None:
        for number, rubbish in enumerate((header("audio-stop"), b"hello\n"), 1):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(header("audio-chunk", bytes(2000), **CHUNK))
            await until(lambda number=number: len(kept) == number)
            spotter = weakref.ref(spotters.pop())
            spotter().go.set()
            writer.write(rubbish)
            assert await reader.readline()
            await until(lambda spotter=spotter: spotter() is None)
            writer.close()

    served(talk)


@pytest.mark.parametrize("then", ["audio-chunk", "audio-stop", "leaves"])
def test_a_failure_while_hearing_is_told_once(served, monkeypatch, capsys, then):
    def fail(self, blocks, threshold):  # noqa: ARG001
        next(blocks)
        raise RuntimeError("out of memory")
        yield

    monkeypatch.setattr(Held, "detect", fail)
    reason = "the sound could not be heard: RuntimeError: out of memory"

    async def talk(port: int, spotters: list[Held]) -> None:
        chunk = header("audio-chunk", bytes(2000), **CHUNK)
        problems = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: problems.append(about))
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(chunk)
        if then == "audio-chunk":
            for _ in range(wyoming.WAITING + 1):  # the last one waits for the thread
                writer.write(chunk)
        elif then == "audio-stop":
            writer.write(header("audio-stop"))
        else:
            writer.write_eof()
        answer = await reader.read()
        assert (reason.encode() in answer) == (then != "leaves")
        writer.close()
        async with AsyncTcpClient(HOST, port) as other:
            await other.write_event(Describe().event())
            assert Info.is_type((await other.read_event()).type)
        assert len(spotters) == 2  # the service's, and the stream's
        lines = []
        for _ in range(100 * PATIENCE):
            lines += capsys.readouterr().err.splitlines()
            if lines:
                break
            await asyncio.sleep(0.01)
        assert len(lines) == 1
        assert reason in lines[0]
        assert problems == []

    served(talk)
    assert capsys.readouterr().err == ""


def test_a_stream_without_sound_ends_and_a_connection_without_a_stream_does_not(served, monkeypatch, capsys):
    monkeypatch.setattr(wyoming, "SILENT_SECONDS", 0.5)

    async def talk(port: int, spotters: list[Held]) -> None:
        async with AsyncTcpClient(HOST, port) as idle, AsyncTcpClient(HOST, port) as silent:
            await silent.write_event(AudioChunk(*PLAIN, bytes(2000)).event())
            assert Error.from_event(await silent.read_event()).text == "no sound for 0.5 s"
            spotters[-1].go.set()
            assert await silent.read_event() is None
            await idle.write_event(Describe().event())
            assert Info.is_type((await idle.read_event()).type)

    served(talk)
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(": no sound for 0.5 s; the connection is closed")


def test_so_many_streams_are_heard_and_no_more(served, monkeypatch, capsys):
    monkeypatch.setattr(wyoming, "MOST_STREAMS", 2)

    async def talk(port: int, spotters: list[Held]) -> None:
        chunk = AudioChunk(*PLAIN, bytes(2000)).event()
        clients = [AsyncTcpClient(HOST, port) for _ in range(4)]
        for one in clients[:3]:
            await one.connect()
            await one.write_event(chunk)
        refused = Error.from_event(await clients[2].read_event())
        assert refused.text == "2 streams are heard already"
        assert await clients[2].read_event() is None
        spotters[1].go.set()
        await clients[0].disconnect()
        spotters[2].go.set()
        await clients[1].write_event(AudioStop().event())
        assert NotDetected.is_type((await clients[1].read_event()).type)
        await clients[3].connect()
        await clients[3].write_event(chunk)
        await clients[3].write_event(Describe().event())
        assert Info.is_type((await clients[3].read_event()).type)
        for one in clients[1:]:
            await one.disconnect()

    served(talk)
    assert capsys.readouterr().err.endswith(": 2 streams are heard already; the connection is closed\n")


def test_an_address_of_version_6():
    assert wyoming.host_and_port("tcp://[::1]:10400") == ("::1", 10_400)
