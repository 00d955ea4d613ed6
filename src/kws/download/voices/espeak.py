"""Speech from eSpeak NG that is the same in every run.

In the library, an utterance changes the sound of the next one, and no call resets this. So each utterance is spoken
by a new process. This module is also a program, `python -m kws.download.voices.espeak`, without NumPy and threads. It
loads the library once and forks for each utterance, which takes 2 ms. It also survives a crash of the library.
"""

import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import espeakng_loader

from kws.core.errors import UserError

SAMPLE_RATE = 22_050  # Hz, of all eSpeak NG voices
USUAL, FASTEST = 125, 450  # words a minute
ATTEMPTS = 3  # where the process is killed, such as for want of memory

# Constants of speak_lib.h
_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_SEPARATOR = "\x1f"  # between sounds; no name of a sound holds it
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
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


def check_installed(purpose: str, instead: str) -> None:
    """Checks that the eSpeak NG library can be loaded on this computer.

    Args:
        purpose: what needs it, with the parameter's name first.
        instead: what the user can do without it.

    Raises:
        UserError: it cannot.
    """
    try:
        ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
        raise UserError(f"{purpose} needs eSpeak NG, which cannot be loaded here ({error}); {instead}") from None


def accents_of(language: str) -> list[str]:
    """The voices of a language. Those of `fr` are `fr`, `fr-be` and `fr-ch`.

    Voices that read Latin letters instead of the language's own (`cmn-latn-pinyin`) have to be named.

    Raises:
        UserError: eSpeak NG does not have the language; similar names follow, then all of them.
    """
    name, files = language.lower(), _voice_files()
    accents = [
        voice
        for voice, file in files.items()
        if any(tag == name or tag.startswith(f"{name}-") for tag in (voice, file.tags[0][1]))
        and ("-latn" in name or "-latn" not in voice)
    ]
    if accents:
        return accents
    if other_names := [(rank, voice) for voice, file in files.items() for rank, tag in file.tags if tag == name]:
        return [min(other_names)[1]]  # zh is cmn
    languages = {voice: file.title for voice, file in files.items() if "-" not in voice}
    near = [voice for voice, title in languages.items() if title.lower().startswith(name)]
    near += [voice for voice in get_close_matches(name, languages) if voice not in near]
    perhaps = " or ".join(f"{voice} ({languages[voice]})" for voice in near[:3])
    hint = f"; perhaps {perhaps}" if near else ""
    raise UserError(f"language: eSpeak NG has no {language!r}{hint}; its languages are {', '.join(languages)}")


class _VoiceFile(NamedTuple):
    """What a file of eSpeak NG says of a voice."""

    title: str  # Chinese (Mandarin, latin as English)
    tags: list[tuple[int, str]]  # rank, the lowest is the best, and language


@cache
def _voice_files() -> dict[str, _VoiceFile]:
    """All voices by their names, in alphabetical order."""
    files = {}
    for path in Path(espeakng_loader.get_data_path(), "lang").rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            tags = re.findall(r"^language +(\S+) *(\d*)", text, flags=re.MULTILINE)
            [title] = re.findall(r"^name +(.*?) *(?://.*)?$", text, flags=re.MULTILINE)
            files[path.name.lower()] = _VoiceFile(title, [(int(rank or 5), tag.lower()) for tag, rank in tags])
    return dict(sorted(files.items()))


def speak(utterances: Sequence[Utterance]) -> list[bytes]:
    """Speaks each utterance, independently of the others.

    Returns:
        16-bit samples, mono, at `SAMPLE_RATE`, one entry per utterance; empty where eSpeak NG crashes.
    """
    return [bytes.fromhex(line) for line in _ask("speak", utterances)]


def read(texts: Sequence[tuple[str, str]]) -> list[str]:
    """Reads each text with a voice, independently of the others.

    Returns:
        The sounds in eSpeak NG's notation, with a space between words and the language in brackets where it changes;
        empty where eSpeak NG crashes.
    """
    return _ask("read", texts)


def phonemes(texts: Sequence[tuple[str, str]]) -> list[list[str]]:
    """As `read`, but each text as the list of its sounds, without stress and pauses."""
    answers = _ask("phonemes", texts)
    bare = [
        [re.sub(r"_[:|!]?|[',%=|]", "", sound) for sound in re.split(f"[{_SEPARATOR} ]", answer)] for answer in answers
    ]
    return [[sound for sound in sounds if sound and not sound.startswith("(")] for sounds in bare]


def _ask(task: str, requests: Sequence[tuple[object, ...]]) -> list[str]:
    """Starts this module as a program. The answers, one line for each request.

    Raises:
        UserError: it was killed, several times.
    """
    command = [sys.executable, "-m", "kws.download.voices.espeak", task]
    for _ in range(ATTEMPTS):
        done = subprocess.run(command, input=json.dumps(requests), stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 (our own)
        if done.returncode >= 0:
            done.check_returncode()
            return done.stdout.splitlines()
    name = signal.Signals(-done.returncode).name
    raise UserError(f"the process of eSpeak NG was killed {ATTEMPTS} times ({name}): does the computer lack memory?")


def _main() -> None:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    os.chdir(Path(espeakng_loader.get_data_path()).parent)  # eSpeak cuts paths off after 160 characters
    if library.espeak_Initialize(_SYNCHRONOUS, 0, b".", _DONT_EXIT) != SAMPLE_RATE:
        sys.exit("eSpeak NG does not start")
    library.espeak_ListVoices(None)  # reads the list of voices once, not for each utterance
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is no reason to write 100 MB
    phonemes = partial(_read, separator=_SEPARATOR)
    tasks: dict[str, Callable[..., str]] = {"speak": _say, "read": _read, "phonemes": phonemes}
    work = tasks[sys.argv[1]]
    for request in json.load(sys.stdin):
        child = os.fork()
        if child == 0:
            print(work(library, *request), flush=True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _CRASHES:
            print(flush=True)
        elif os.WIFSIGNALED(status):  # somebody has killed it: whoever asked asks again
            os.kill(os.getpid(), os.WTERMSIG(status))
        elif status != 0:
            sys.exit(f"eSpeak NG broke down at {request}")


def _read(library: ctypes.CDLL, text: str, voice: str, separator: str = "") -> str:
    _set_voice(library, voice)
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    rest = ctypes.c_char_p(text.encode())
    clauses = []
    while rest:
        mode = ord(separator) << 8 if separator else 0
        clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, mode).decode())
    return " ".join(clauses)


def _set_voice(library: ctypes.CDLL, voice: str) -> None:
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"no voice {voice}")


def _say(library: ctypes.CDLL, *request: Any) -> str:
    utterance = Utterance(*request)
    samples = bytearray()

    def keep(block: int | None, count: int, _events: int) -> int:
        if block:
            samples.extend(ctypes.string_at(block, 2 * count))
        return 0

    callback = _CALLBACK(keep)  # named, since the library does not keep it alive
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(utterance.seed))
    _set_voice(library, utterance.voice)
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
            return samples.hex()
        rate = min(FASTEST, rate * 5 // 4)


if __name__ == "__main__":
    _main()
