"""Sends hours of sound to `kws wyoming` from several clients at once, and counts what gets lost.

python benchmarks/wyoming_clients.py speech_commands_v0.02.tar.gz               # 8 clients, an hour of sound in all
python benchmarks/wyoming_clients.py speech_commands_v0.02.tar.gz --minutes 60  # an hour each

The sound is made of an archive in the layout of Speech Commands: words over background, another mixture for each
client. The clients are those of the public library (package `wyoming`), and send as fast as the server takes it. Each
detection and its time must be what `Spotter.detect` gives for the same sound. Linux only, for the memory. Writes
benchmarks/wyoming_clients.json.
"""

import argparse
import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from runs import ROOT
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info
from wyoming.wake import Detection

from kws.audio.clip import cut_or_pad
from kws.audio.decode import decode_recording
from kws.audio.frontend import FrontEnd
from kws.core import paths
from kws.core.files import write_json
from kws.recordings.archive import read_contents, read_members
from kws.recordings.background import read_background
from kws.recordings.layout import understand
from kws.spotting.litert import Network
from kws.spotting.spotter import Spotter

HOST, RATE, WIDTH = "127.0.0.1", 16_000, 2
CHUNK = 1024  # samples, 64 ms, as a microphone gives them
MOST_CLIPS = 2000  # are kept in memory
EVERY = 3  # seconds, a word
NOISE_LEVEL = 0.01  # root mean square, full scale = 1
SNR_DB = (5.0, 25.0)
OUT = ROOT / "benchmarks" / "wyoming_clients.json"
Heard = list[tuple[str, int]]  # words, and times in ms


@dataclass(frozen=True)
class Mixture:
    """What a client says: the minutes of it are made one after the other, since an hour of sound is large.

    Attributes:
        clips: float32 (clips, RATE).
        noise: float32 (samples,), longer than a minute.
        number: of the client; the mixtures of two clients differ.
        seconds: how long it lasts.
    """

    clips: np.ndarray
    noise: np.ndarray
    number: int
    seconds: int

    def minutes(self) -> Iterator[bytes]:
        """The sound, in parts of a minute at most: 16-bit samples."""
        for first in range(0, self.seconds, 60):
            rng = np.random.default_rng([self.number, first])
            seconds = min(60, self.seconds - first)
            start = int(rng.integers(len(self.noise) - seconds * RATE))
            sound = self.noise[start : start + seconds * RATE]
            sound = sound * (NOISE_LEVEL / np.sqrt(np.mean(sound**2)))
            for second in range(0, seconds - 1, EVERY):
                clip = self.clips[rng.integers(len(self.clips))]
                place = second * RATE + int(rng.integers(min(EVERY, seconds - second) * RATE - RATE))
                level = 10 ** (rng.uniform(*SNR_DB) / 20) * NOISE_LEVEL
                gain = level / max(float(np.sqrt(np.mean(clip**2))), 1e-6)
                sound[place : place + RATE] += gain * clip
            yield np.rint(np.clip(sound, -1, 1) * (2**15 - 1)).astype("<i2").tobytes()


def expected(mixture: Mixture, model: Path) -> Heard:
    """What the server should tell of a mixture."""
    spotter = Spotter.load(model)
    blocks = (np.frombuffer(minute, "<i2") * np.float32(2**-15) for minute in mixture.minutes())
    return [
        (
            spotter.classes[found.word],
            round(1000 * (found.window * spotter.step_samples + spotter.clip_samples) / spotter.sample_rate),
        )
        for found in spotter.detect(blocks, spotter.threshold)
    ]


async def told(mixture: Mixture, port: int) -> Heard:
    """What the server tells of a mixture."""
    heard: Heard = []

    async def listen(client: AsyncTcpClient) -> None:
        while (event := await client.read_event()) is not None and not Info.is_type(event.type):
            if Detection.is_type(event.type):
                found = Detection.from_event(event)
                heard.append((str(found.name), int(found.timestamp or 0)))

    async with AsyncTcpClient(HOST, port) as client:
        listening = asyncio.create_task(listen(client))
        await client.write_event(AudioStart(RATE, WIDTH, 1).event())
        for minute in mixture.minutes():
            for first in range(0, len(minute), CHUNK * WIDTH):
                chunk = AudioChunk(RATE, WIDTH, 1, minute[first : first + CHUNK * WIDTH])
                await client.write_event(chunk.event())
        await client.write_event(AudioStop().event())
        await client.write_event(Describe().event())  # its answer comes behind the last detection
        await listening
    return heard


def sounds(archive: Path, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Clips of words that the model knows, and of others; and background."""
    about = Network.load(model).about
    clips = understand(read_contents(archive), about["classes"]).clips
    rng = np.random.default_rng(0)
    chosen = rng.permutation([clip.name for clip in clips])[:MOST_CLIPS]
    decoded = [decode_recording(data or b"", RATE).samples for _, data in read_members(archive, set(chosen))]
    background = read_background(archive, clips, FrontEnd.from_json(about["front_end"]), ["train"])[0]
    noise = np.concatenate(list(background["train"].values()))
    return np.stack([cut_or_pad(samples, RATE) for samples in decoded]), noise.astype(np.float32)


def main() -> None:
    """Runs the server and the clients, compares, and writes what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", type=Path, default=paths.SPOTTER)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=7.5, help="of each client")
    options = parser.parse_args()

    clips, noise = sounds(options.archive, options.model)
    seconds = round(60 * options.minutes)
    mixtures = [Mixture(clips, noise, number, seconds) for number in range(options.clients)]

    with socket.socket() as one:
        one.bind((HOST, 0))
        port = one.getsockname()[1]
    uri = f"tcp://{HOST}:{port}"
    command = [sys.executable, "-m", "kws", "wyoming", "--model", str(options.model), "--uri", uri]
    server = subprocess.Popen(  # noqa: S603 (our own command)
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    print(server.stderr.readline().strip())
    start = time.perf_counter()

    async def all_at_once() -> list[Heard]:
        return await asyncio.gather(*(told(mixture, port) for mixture in mixtures))

    try:
        heard = asyncio.run(all_at_once())
        took = time.perf_counter() - start
        [peak_kb] = re.findall(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    finally:
        server.send_signal(signal.SIGTERM)
    complaints = server.stderr.read().splitlines()

    with ProcessPoolExecutor() as pool:
        wanted = list(pool.map(expected, mixtures, [options.model] * len(mixtures)))
    pairs = list(zip(heard, wanted, strict=True))
    counted = {
        "clients": len(mixtures),
        "hours_of_sound": round(len(mixtures) * seconds / 3600, 3),
        "chunks": len(mixtures) * -(-seconds * RATE // CHUNK),
        "detections": sum(map(len, wanted)),
        "lost": sum((Counter(right) - Counter(got)).total() for got, right in pairs),
        "made_up": sum((Counter(got) - Counter(right)).total() for got, right in pairs),
        "clients_in_order": sum(got == right for got, right in pairs),
        "complaints": len(complaints),
        "exit_code": server.wait(),
        "peak_memory_mb": round(int(peak_kb) / 1000),
        "model_mb": round(options.model.stat().st_size / 1e6, 1),
    }
    write_json(OUT, counted)
    print(f"{took:.0f} s")
    print(*(f"{name}: {value}" for name, value in counted.items()), *complaints, sep="\n")
    if counted["lost"] or counted["made_up"] or complaints or counted["clients_in_order"] != len(mixtures):
        sys.exit("error: the server and Spotter.detect differ")


if __name__ == "__main__":
    main()
