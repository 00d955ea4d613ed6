"""Guided recording in the terminal: a countdown, the take, its checks, and whether it is kept."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

import numpy as np

from kws.audio.decode import read_blocks
from kws.core.errors import UserError
from kws.core.naming import BACKGROUND
from kws.record.checks import COUNT_SECONDS, COUNTS, SAMPLE_RATE
from kws.record.microphone import BLOCK_SECONDS, meter, microphone, sounddevice
from kws.record.takes import Plan, Prompt

MOST_BAD = 5  # takes in a row with a problem that are repeated where nobody is asked: then the microphone is at fault

Play = Callable[[np.ndarray], None]  # plays samples at SAMPLE_RATE, and returns when they have been heard


class Sound:
    """A stream of sound, of which one takes so many samples at a time."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._heard = np.zeros(0, np.float32)

    def read(self, samples: int) -> np.ndarray:
        """The next samples: float32 (samples,); fewer where the sound ends."""
        parts = [self._heard]
        while sum(map(len, parts)) < samples and (block := next(self._blocks, None)) is not None:
            parts.append(block)
        whole = np.concatenate(parts)
        self._heard = whole[samples:]
        return whole[:samples]


Opened = Callable[[], AbstractContextManager[Sound]]


def microphone_of(device: str | None) -> Opened:
    """The microphone, opened anew for each take: what it hears between the takes is of no use."""

    @contextmanager
    def opened() -> Iterator[Sound]:
        remarks: list[str] = []
        with closing(microphone(SAMPLE_RATE, device, remarks)) as blocks:
            yield Sound(blocks)
        for remark in remarks:
            _say(f"  {remark}")

    return opened


def sound_of(path: Path) -> Opened:
    """A sound file in place of the microphone: each take goes on where the one before has ended."""
    sound = Sound(read_blocks(path, SAMPLE_RATE))
    return lambda: nullcontext(sound)


def play(samples: np.ndarray) -> None:
    """Plays a take, and returns when it has been heard.

    Raises:
        UserError: this machine plays no sound.
    """
    package = sounddevice()
    try:
        package.play(samples, SAMPLE_RATE, blocking=True)
    except package.PortAudioError as error:
        raise UserError(f"no sound can be played ({error}); --no-playback does without") from None


def record(plan: Plan, speaker: str, opened: Opened, play: Play | None, *, sure: bool) -> bool:
    """Guides a speaker through what the plan wants, until all is there, the speaker quits, or the sound ends.

    Args:
        plan: what is wanted, and where it is kept.
        speaker: as `Plan.speaker` gives it.
        opened: gives what is heard from now on, for a take.
        play: plays a take to the speaker; None: no take is played.
        sure: keeps every take without a problem, and repeats the others, without a question.

    Returns:
        Whether all takes of this speaker are there.

    Raises:
        UserError: nobody is asked, and MOST_BAD takes in a row had a problem.
    """
    bad = 0  # in a row
    while todo := plan.todo(speaker):
        prompt = todo[0]
        _say(f"{_name(prompt)}, {len(todo)} to go: {_how(prompt)}")
        with opened() as sound:
            samples = _heard(sound, prompt)
        if len(samples) < prompt.samples:
            _say("the sound has ended")
            return False
        checked = plan.check(prompt.word, samples)
        for line in checked.problems or [f"good: {checked.about}"]:
            _say(f"  {line}")
        kept = samples[checked.start : checked.end]
        if play and len(kept):
            play(kept)
        bad = bad + 1 if checked.problems else 0
        if sure and bad == MOST_BAD:
            raise UserError(f"stopped after {bad} takes in a row with a problem; mend it, and the same command goes on")
        answer = _asked(checked.problems, len(kept)) if not sure else "a" if checked.problems else "k"
        if answer == "k":
            _say(f"  kept: {plan.keep(prompt.word, speaker, kept)}")
        elif answer == "q":
            return False
    return True


def _name(prompt: Prompt) -> str:
    if prompt.word == BACKGROUND:
        return f"the room, {prompt.number} of {prompt.wanted}"
    return f"{prompt.word}, take {prompt.number} of {prompt.wanted}"


def _how(prompt: Prompt) -> str:
    if prompt.word == BACKGROUND:
        return "a minute as it is, and nobody speaks"
    return "say it once, after the countdown"


def _heard(sound: Sound, prompt: Prompt) -> np.ndarray:
    """What is heard for a prompt, while the terminal shows the countdown and the level."""
    parts, block = [], round(BLOCK_SECONDS * SAMPLE_RATE)
    for start in range(0, prompt.samples, block):
        parts.append(sound.read(min(block, prompt.samples - start)))
        if sys.stdout.isatty() and len(parts[-1]):
            print(f"\r{_now(prompt, start / SAMPLE_RATE):>16}  {meter(parts[-1])}", end="", flush=True)
    if sys.stdout.isatty():
        print("\r\x1b[K", end="", flush=True)
    return np.concatenate(parts)


def _now(prompt: Prompt, seconds: float) -> str:
    """What stands before the level: the countdown, then the word; of the room, how many seconds are left."""
    if prompt.word == BACKGROUND:
        return f"{prompt.samples / SAMPLE_RATE - seconds:.0f} s"
    count = COUNTS - int(seconds / COUNT_SECONDS)
    return f"{count} ..." if count > 0 else prompt.word


def _asked(problems: tuple[str, ...], usable: int) -> str:
    """What becomes of a take: k, it is kept; a, it is made again; q, the speaker quits."""
    usual = "a" if problems else "k"
    names = {"k": "keep", "a": "again", "q": "quit"}
    if not usable:
        del names["k"]
    choices = ", ".join(f"{key} {name}{' (or Enter)' if key == usual else ''}" for key, name in names.items())
    while True:
        try:
            answer = input(f"  {choices}: ").strip().lower() or usual
        except EOFError:  # nobody is there to answer
            print()
            return "q"
        if answer in names:
            return answer


def _say(line: str) -> None:
    print(line, flush=True)
