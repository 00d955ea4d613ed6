"""Draws docs/review.png: the page of `kws review`, when some of the sounds have an answer.

`python docs/review_picture.py`. eSpeak NG stands in for the household. It needs Chromium, and the packages of
`make test`.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soxr
from PIL import Image
from playwright.sync_api import sync_playwright

from kws.core.naming import BACKGROUND, UNKNOWN
from kws.download.voices import espeak
from kws.kept.folder import Kept, KeptFolder

PICTURE = Path(__file__).with_name("review.png")
SCREEN = {"width": 1100, "height": 650}
SAMPLE_RATE = 16_000
CLIP_SECONDS, MARGIN_SECONDS = 1.0, 0.5
ROOM_DB = -55
# What is said, what the model took it for, its score, the voice, and what somebody has answered
SOUNDS = [
    ("coffee", "coffee", 0.991, "en-us+f3", "coffee"),
    ("copy", "coffee", 0.934, "en-us+m1", UNKNOWN),
    ("blinds", "blinds", 0.972, "en-us+m3", "blinds"),
    ("", "dimmer", 0.812, "en-us", BACKGROUND),
    ("a cup of coffee please", "coffee", 0.874, "en-us+f2", ""),
    ("dinner", "dimmer", 0.948, "en-us+f3", ""),
    ("blinds", "blinds", 0.786, "en-us+f5", ""),
]


def main() -> None:
    """Keeps the sounds, serves the page, and saves what it shows."""
    with tempfile.TemporaryDirectory() as parent:
        folder = KeptFolder(Path(parent) / "heard")
        for number, (text, word, score, voice, _) in enumerate(SOUNDS):
            time = f"2026-05-31T18:{4 + 3 * number:02d}:09"
            fired = "yes" if score >= 0.9 else "no"
            kept = Kept(
                *("", time, word, score, 0.9, "c0b95f06a4d4c0e1", "blinds, coffee, dimmer", fired),
                *(MARGIN_SECONDS, CLIP_SECONDS),
            )
            folder.add(said(text, voice, number), SAMPLE_RATE, kept, len(SOUNDS))
        for row, (*_, answer) in zip(folder.rows(), SOUNDS, strict=True):
            folder.set_answer(row.file, answer)
        command = [sys.executable, "-m", "kws", "review", "--port", "0", str(folder.path)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own program)
        try:
            address = server.stdout.readline().split()[0]
            with sync_playwright() as playwright:
                arguments = ["--no-sandbox", "--disable-gpu"]
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
                page = browser.new_page(viewport=SCREEN)
                page.goto(address)
                page.wait_for_selector("body[data-shown]")
                page.evaluate("audio.pause()")
                page.wait_for_selector("#head", state="hidden")
                image = Image.open(io.BytesIO(page.screenshot()))
        finally:
            server.terminate()
    image.quantize(128).save(PICTURE, optimize=True)


def said(text: str, voice: str, seed: int) -> np.ndarray:
    """A text in the middle of a room, float32 (samples,), with the margins; "": the room alone."""
    count = round((CLIP_SECONDS + 2 * MARGIN_SECONDS) * SAMPLE_RATE)
    room = np.random.default_rng(seed).normal(size=count) * 10 ** (ROOM_DB / 20)
    if text:
        [spoken] = espeak.speak([espeak.Utterance(text, voice, 150, 50, 50, 1.0, 1)])
        samples = soxr.resample(np.frombuffer(spoken, "<i2") / 2**15, espeak.SAMPLE_RATE, SAMPLE_RATE)
        samples = samples[:count]
        start = (count - len(samples)) // 2
        room[start : start + len(samples)] += 0.5 * samples / np.abs(samples).max()
    return room.astype(np.float32)


if __name__ == "__main__":
    main()
