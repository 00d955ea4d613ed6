"""Speech from eSpeak NG that is the same in every run.

In the library, an utterance changes the sound of the next one, and no call resets this. So each utterance is spoken
by a new process. This module is also a program, `python -m kws.download.voices.espeak`, without NumPy and threads. It
loads the library once and forks for each utterance, which takes 2 ms.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import espeakng_loader

from kws.core.errors import UserError

SAMPLE_RATE = 22_050  # Hz, of all eSpeak NG voices
FASTEST = 450  # words a minute

# Constants of speak_lib.h
_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Utterance(NamedTuple):
    """A text, and how it is spoken."""

    text: str
    voice: str  # accent+variant: en-us+f3
    rate: int  # words a minute, 80 to 450; raised if the utterance is longer than `longest`
    pitch: int  # 0 to 100
    pitch_range: int  # 0 to 100, 0 is monotonous
    longest: float  # seconds
    seed: int  # of the flutter and breath in the voice, below 2**31


def check_installed() -> None:
    """Checks that the eSpeak NG library can be loaded on this computer.

    Raises:
        UserError: it cannot.
    """
    try:
        ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
        raise UserError(
            f"dataset: synthetic needs eSpeak NG, which cannot be loaded here ({error}); take another dataset"
        ) from None


def speak(utterances: Sequence[Utterance]) -> list[bytes]:
    """Speaks each utterance, independently of the others.

    Returns:
        16-bit samples, mono, at `SAMPLE_RATE`, one entry per utterance.
    """
    command = [sys.executable, "-m", "kws.download.voices.espeak"]
    request = json.dumps(utterances)
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 (our own)
    return [bytes.fromhex(line) for line in done.stdout.splitlines()]


def _main() -> None:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    os.chdir(Path(espeakng_loader.get_data_path()).parent)  # eSpeak cuts paths off after 160 characters
    if library.espeak_Initialize(_SYNCHRONOUS, 0, b".", _DONT_EXIT) != SAMPLE_RATE:
        sys.exit("eSpeak NG does not start")
    library.espeak_ListVoices(None)  # reads the list of voices once, not for each utterance
    for utterance in json.load(sys.stdin):
        child = os.fork()
        if child == 0:
            print(_say(library, Utterance(*utterance)).hex(), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(f"eSpeak NG broke down at {utterance}")


def _say(library: ctypes.CDLL, utterance: Utterance) -> bytes:
    samples = bytearray()

    def keep(block: int | None, count: int, _events: int) -> int:
        if block:
            samples.extend(ctypes.string_at(block, 2 * count))
        return 0

    callback = _CALLBACK(keep)  # named, since the library does not keep it alive
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(utterance.seed))
    if library.espeak_SetVoiceByName(utterance.voice.encode()) != 0:
        raise ValueError(f"no voice {utterance.voice}")
    library.espeak_SetParameter(_PITCH, utterance.pitch, 0)
    library.espeak_SetParameter(_RANGE, utterance.pitch_range, 0)
    text = ctypes.create_string_buffer(utterance.text.encode())
    rate = utterance.rate
    while True:
        samples.clear()
        library.espeak_SetParameter(_RATE, rate, 0)
        library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None)
        spoken = samples.rstrip(b"\0")
        if len(spoken) <= 2 * SAMPLE_RATE * utterance.longest or rate >= FASTEST:
            return bytes(samples)
        rate = min(FASTEST, rate * 5 // 4)


if __name__ == "__main__":
    _main()
