"""A Wyoming server: wake words for Home Assistant and other voice assistants.

The protocol and its library: https://github.com/OHF-Voice/wyoming. A connection is a client with a stream of its own.
One thread hears each stream, so that no client holds up another.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_read_event
from wyoming.info import Attribution, Describe, Info, WakeModel, WakeProgram
from wyoming.server import AsyncEventHandler, AsyncTcpServer
from wyoming.wake import Detect, Detection, NotDetected

from kws.audio.mono import UnusableClipError
from kws.audio.pcm import PcmFormat, PcmStream
from kws.core.errors import UserError
from kws.core.naming import first_names
from kws.spotting.litert import Network
from kws.spotting.spotter import Spotter

MOST_BYTES = 2**20  # of an event: 32 s of sound at 16 kHz; clients send some 0.1 s at a time
WAITING = 4  # chunks of a stream that may wait for its thread; then the client waits
SHOWN = 40  # characters of what is refused
SILENT_SECONDS = 300  # a stream without sound for so long ends, so that it takes no place
MOST_STREAMS = 64  # at the same time; each takes a thread, and a network of its own in memory


class _RefusedError(Exception):
    """The connection ends: what a client sent is not taken, or cannot be heard. The text of the error is the reason."""


@dataclass
class Service:
    """What all clients share.

    Attributes:
        model: the bytes of a LiteRT file that `Spotter` takes.
        threshold: from which a word is detected.
        pool: the threads that hear.
        clients: the tasks of the open connections.
        streams: how many of them send sound.
    """

    model: bytes
    threshold: float
    pool: ThreadPoolExecutor
    clients: set[asyncio.Task[None]] = field(default_factory=set)
    streams: int = 0

    def __post_init__(self) -> None:
        spotter = self.spotter()
        self.words = [spotter.classes[index] for index in spotter.words]
        self.info = _info(self.words, hashlib.sha256(self.model).hexdigest()).event()

    def spotter(self) -> Spotter:
        """A spotter for one stream: networks cannot be shared by threads."""
        return Spotter(Network(self.model))


class Client(AsyncEventHandler):
    """One connection: the words that it asks for, and the sound that it sends."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._service = service
        self._asked = Detect()
        self._started: int | None = None  # ms, as the client counts time
        self._stream: _Stream | None = None
        self._until: float | None = None  # by the clock of the loop: then the stream has been silent for too long
        peer = writer.get_extra_info("peername")
        self._name = f"{peer[0]}:{peer[1]}" if peer else "a client that is gone"
        # A machine that was switched off says no goodbye: the system finds out, and ends the connection.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def run(self) -> None:
        """Answers events until the client closes the connection, or sends what is refused."""
        if task := asyncio.current_task():
            self._service.clients.add(task)
            task.add_done_callback(self._service.clients.discard)
        self._is_running = True
        try:
            while self._is_running and (event := await self._next_event()) is not None:
                await self.handle_event(event)
        except (_RefusedError, UnusableClipError) as refusal:
            if self._is_running:
                self.log(f"{refusal}; the connection is closed")
                with contextlib.suppress(ConnectionError):
                    await self.write_event(Error(str(refusal)).event())
        except OSError as problem:  # the network
            self.log(problem.strerror or str(problem))
        finally:
            try:
                await self.disconnect()
            finally:
                self.writer.close()

    async def handle_event(self, event: Event) -> bool:
        """Answers an event. What is not about wake words is left alone, as the protocol asks.

        Raises:
            _RefusedError, UnusableClipError: it makes no sense.
        """
        if Describe.is_type(event.type):
            await self.write_event(self._service.info)
        elif Detect.is_type(event.type):
            self._asked = _checked_detect(event)
            unknown = sorted(set(self._asked.names or []) - set(self._service.words))
            if unknown:
                names, known = first_names(repr(name[:SHOWN]) for name in unknown), ", ".join(self._service.words)
                self.log(f"asks for {names}, which the model does not know; it knows {known}")
        elif AudioStart.is_type(event.type):
            _format(event)
            self._started = _number(event, "timestamp")
            await self._end_stream()
        elif AudioChunk.is_type(event.type):
            await self._hear(event)
        elif AudioStop.is_type(event.type):
            detected = await self._end_stream()
            if not detected and self._is_running:
                await self.write_event(NotDetected(context=self._asked.context).event())
        return True

    async def tell(self, word: str, score: float, milliseconds: int) -> None:
        """Prints a detection, and sends it."""
        print(f"{self._name}  {milliseconds / 1000:.1f} s  {word}  {score:.1%}", flush=True)
        with contextlib.suppress(ConnectionError):  # the client is gone, which its next event would tell
            await self.write_event(Detection(word, milliseconds, context=self._asked.context).event())

    def wants(self, word: str) -> bool:
        """Whether the client has asked for a word: for all, if for none by name."""
        return not self._asked.names or word in self._asked.names

    def log(self, line: str) -> None:
        """Prints a line about this client."""
        print(f"{self._name}: {line}", file=sys.stderr, flush=True)

    async def stop(self) -> None:
        """Ends the connection, since the server stops."""
        self._leave_stream()
        await super().stop()

    async def disconnect(self) -> None:
        """Ends a stream that has not been heard to its end. Nobody waits for its detections any more."""
        self._leave_stream()
        try:
            await self._end_stream()
        except _RefusedError as failure:
            self.log(str(failure))

    async def _next_event(self) -> Event | None:
        """The next event; None at the end of the connection.

        Raises:
            _RefusedError: what came is no event, or a stream was without sound for too long.
        """
        try:
            async with asyncio.timeout_at(self._until) as waiting:
                return await _next_event(self.reader)
        except TimeoutError:
            if waiting.expired():
                raise _RefusedError(f"no sound for {SILENT_SECONDS:g} s") from None
            raise  # of the network

    async def _hear(self, event: Event) -> None:
        """Passes a chunk on to the thread of the stream; the first chunk begins one."""
        pcm = _format(event)
        if self._stream is None:
            if self._service.streams == MOST_STREAMS:
                raise _RefusedError(f"{MOST_STREAMS} streams are heard already")
            begin = next((ms for ms in (_number(event, "timestamp"), self._started) if ms is not None), 0)
            self._stream = _Stream(self, self._service, pcm, begin)
            self._service.streams += 1
        await self._stream.put(pcm, event.payload or b"")
        if self._stream.failed:
            await self._end_stream()  # raises
        self._until = asyncio.get_running_loop().time() + SILENT_SECONDS

    def _leave_stream(self) -> None:
        if self._stream is not None:
            self._stream.leave()
            self.writer.transport.abort()  # a client that does not read must not hold up the thread

    async def _end_stream(self) -> int:
        """Waits until the stream is heard to its end; how many detections it had.

        Raises:
            _RefusedError: it could not be heard.
        """
        if self._stream is None:
            return 0
        try:
            return await self._stream.end()
        except Exception as failure:  # of LiteRT, or of memory
            raise _RefusedError(f"the sound could not be heard: {type(failure).__name__}: {failure}") from failure
        finally:
            self._service.streams -= 1
            self._stream = self._until = None


class _Stream:
    """The sound between the start and the stop of a client, and the thread that hears it."""

    def __init__(self, client: Client, service: Service, pcm: PcmFormat, begin: int) -> None:
        self._client = client
        self._begin = begin  # ms, of the first sample
        self._pcm = pcm
        spotter = service.spotter()  # here, not in the thread: loading hides what others print meanwhile
        self._sound = PcmStream(pcm, spotter.sample_rate)
        self._chunks: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = asyncio.Semaphore(WAITING)
        self._left = False
        self._loop = asyncio.get_running_loop()
        # The thread alone holds the spotter, so that its memory is free as soon as the stream ends.
        self._heard = self._loop.run_in_executor(service.pool, self._detect, spotter, service.threshold)
        self._heard.add_done_callback(lambda _: self._room.release())  # nobody waits for a thread that has failed

    async def put(self, pcm: PcmFormat, chunk: bytes) -> None:
        """Hands a chunk to the thread, as soon as it has room."""
        if pcm != self._pcm:
            raise _RefusedError(f"the format changes from {self._pcm} to {pcm}")
        if len(chunk) % pcm.bytes_at_once:
            raise _RefusedError(f"a chunk of {len(chunk)} bytes is no whole number of samples of {pcm}")
        await self._room.acquire()
        self._chunks.put(chunk)

    @property
    def failed(self) -> bool:
        """Whether the thread has ended before the stream; `end` says why."""
        return self._heard.done()

    def leave(self) -> None:
        """What has come in and was not heard yet is not heard any more."""
        self._left = True

    async def end(self) -> int:
        """Waits for the thread, which hears what has come in; how many detections the stream had."""
        self._chunks.put(None)
        return await self._heard

    def _detect(self, spotter: Spotter, threshold: float) -> int:
        """Hears the stream and tells its detections, in the thread; how many there are."""
        told = 0
        for found in spotter.detect(self._blocks(), threshold):
            word = spotter.classes[found.word]
            if self._client.wants(word) and not self._left:
                # The protocol wants the time of the detection: the end of its window.
                samples = found.window * spotter.step_samples + spotter.clip_samples
                at = self._begin + round(1000 * samples / spotter.sample_rate)
                telling = self._client.tell(word, found.score, at)
                asyncio.run_coroutine_threadsafe(telling, self._loop).result()
                told += 1
        return told

    def _blocks(self) -> Iterator[np.ndarray]:
        told = 0
        while (chunk := self._chunks.get()) is not None:
            for block in self._sound.blocks(chunk):
                if self._left:  # the chunks that wait are taken all the same, so that their memory is free
                    break
                yield block
            for remark in self._sound.remarks[told:]:
                self._loop.call_soon_threadsafe(self._client.log, remark)
            told = len(self._sound.remarks)
            self._loop.call_soon_threadsafe(self._room.release)
        yield self._sound.rest()


def serve(address: tuple[str, int], model: Path, threshold: float) -> None:
    """Answers clients until SIGINT or SIGTERM.

    Args:
        address: host and port to listen on.
        model: a LiteRT file that `Spotter` takes; it is read once.
        threshold: from which a word is detected.

    Raises:
        UserError: the address cannot be had.
    """
    with ThreadPoolExecutor(MOST_STREAMS, thread_name_prefix="stream") as pool:
        asyncio.run(_serve(address, model.name, Service(model.read_bytes(), threshold, pool)))


def host_and_port(uri: str) -> tuple[str, int]:
    """The address in `tcp://HOST:PORT`.

    Raises:
        UserError: it is none.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:  # the port
        host = port = None
    if not host or not port or uri.count("/") != 2 or parts.scheme != "tcp":
        raise UserError(f"{uri}: is no address; write tcp://HOST:PORT, such as tcp://127.0.0.1:10400")
    return host, port


async def _serve(address: tuple[str, int], name: str, service: Service) -> None:
    host, port = address
    stopped = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # on Windows, Ctrl-C raises KeyboardInterrupt
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = AsyncTcpServer(host, port)
    try:
        await server.start(partial(Client, service))
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno and not isinstance(problem, socket.gaierror):
            reason = os.strerror(problem.errno)  # asyncio's own text repeats the address
        raise UserError(f"tcp://{host}:{port}: {reason}; --uri gives another address") from None
    words = ", ".join(service.words)
    print(
        f"listening on tcp://{host}:{port} for {words}; {name}; threshold {service.threshold:.2f}; Ctrl-C stops",
        file=sys.stderr,
    )
    if not _is_this_machine(host):
        print("warning: whoever reaches this address may use it, since Wyoming knows no passwords", file=sys.stderr)
    await stopped.wait()
    await server.stop()
    if service.clients:
        await asyncio.wait(service.clients)


def _is_this_machine(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _info(words: list[str], sha256: str) -> Info:
    """What the server says of itself."""
    maker = Attribution(name="kws", url="")  # a model file does not say who trained it, or in which language
    models = [
        WakeModel(
            name=word,
            attribution=maker,
            installed=True,
            description=word.replace("_", " "),  # the name that Home Assistant shows
            version=sha256[:12],
            languages=[],
            phrase=word.replace("_", " "),
        )
        for word in words
    ]
    return Info(wake=[WakeProgram("kws", maker, True, "Words of a model that kws trained", version("kws"), models)])


class _Reader:
    """The bytes of a client, for the library's `async_read_event`, which would take an event of any size."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.line = b""  # the first one of an event

    async def readline(self) -> bytes:
        try:
            self.line = await self._reader.readline()
        except ValueError:
            raise _RefusedError("no event: a line without an end") from None
        if self.line and not self.line.endswith(b"\n"):
            raise asyncio.IncompleteReadError(self.line, None)
        return self.line

    async def readexactly(self, count: int) -> bytes:
        if count > MOST_BYTES:
            raise _RefusedError(f"an event of {count:,} bytes, more than {MOST_BYTES:,}")
        return await self._reader.readexactly(count)


async def _next_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event; None at the end of the connection.

    Raises:
        _RefusedError: what came is no event.
    """
    bounded: Any = _Reader(reader)  # the library asks for a StreamReader, of which it calls two methods
    try:
        event = await async_read_event(bounded)
    except asyncio.IncompleteReadError:
        raise _RefusedError("left in the middle of an event") from None
    except (AttributeError, KeyError, TypeError, RecursionError):  # JSON of another kind
        event = None
    if bounded.line and (event is None or not isinstance(event.data, dict)):
        raise _RefusedError(f"no event of Wyoming: {bounded.line[:SHOWN]!r}")
    return event


def _format(event: Event) -> PcmFormat:
    rate, width, channels = (_number(event, name) for name in ("rate", "width", "channels"))
    if rate is None or width is None or channels is None:
        raise _RefusedError(f"{event.type} without rate, width and channels")
    return PcmFormat(rate, width, channels)


def _number(event: Event, name: str) -> int | None:
    value = event.data.get(name)
    if value is not None and type(value) is not int:
        raise _RefusedError(f"{event.type}: {name} is no whole number: {str(value)[:SHOWN]!a}")
    return value


def _checked_detect(event: Event) -> Detect:
    asked = Detect.from_event(event)
    names = [] if asked.names is None else asked.names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _RefusedError("detect: names are no list of texts")
    if asked.context is not None and not isinstance(asked.context, dict):
        raise _RefusedError("detect: the context is no object")
    try:
        json.dumps(asked.context, ensure_ascii=False).encode()  # it is sent back
    except (UnicodeEncodeError, RecursionError):
        raise _RefusedError("detect: the context cannot be sent back") from None
    return asked
