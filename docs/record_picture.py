"""Draws docs/record.png: the page of `kws record`, while a word is said and when its take is judged, light and dark.

`python docs/record_picture.py`. eSpeak NG stands in for the speaker. It needs Chromium, and the packages of
`make test`.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from kws.download.voices import espeak
from kws.record.checks import SAMPLE_RATE

PICTURE = Path(__file__).with_name("record.png")
PHONE = {"width": 390, "height": 620}
WORD = "coffee"
ROOM_DB = -65
GAP = 20  # pixels between both
LOUD = "[data-state=saying] #level[aria-valuenow^='-1']"  # from -10 to -19 dB
GOOD = "[data-state=asking] #keep.usual"


def main() -> None:
    """Serves the page, lets it hear the word, and saves what it shows."""
    with tempfile.TemporaryDirectory() as folder:
        heard = Path(folder) / "heard.wav"
        soundfile.write(heard, said(WORD), SAMPLE_RATE, subtype="PCM_16")
        command = [sys.executable, "-m", "kws", "record", WORD, "blinds", "dimmer", "--speaker", "ada"]
        command += ["--page", "--port", "0", "--to", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own program)
        devices = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        arguments = ["--no-sandbox", "--disable-gpu", *devices, f"--use-file-for-fake-audio-capture={heard}"]
        try:
            address = server.stdout.readline().split()[0]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
                shots = [shot(browser, address, "dark", LOUD), shot(browser, address, "light", GOOD)]
        finally:
            server.terminate()
    width, height = shots[0].size
    both = Image.new("RGB", (2 * width + GAP, height), "white")
    for place, one in enumerate(shots):
        both.paste(one, (place * (width + GAP), 0))
    both.quantize(128).save(PICTURE, optimize=True)


def said(word: str) -> np.ndarray:
    """A room in which the word is said every 4.3 s."""
    [spoken] = espeak.speak([espeak.Utterance(word, "en-us+f3", 130, 50, 50, 1.0, 1)])
    samples = np.frombuffer(spoken, "<i2") / 2**15
    samples = soxr.resample(samples, espeak.SAMPLE_RATE, SAMPLE_RATE)
    room = np.random.default_rng(1).normal(size=round(4.3 * SAMPLE_RATE)) * 10 ** (ROOM_DB / 20)
    start = round(2.4 * SAMPLE_RATE)
    room[start : start + len(samples)] += 0.5 * samples / np.abs(samples).max()
    return room


def shot(browser: Browser, address: str, scheme: str, wanted: str) -> Image.Image:
    """The page when it has this element: takes are made again until then, since some begin beside the word."""
    page = browser.new_page(viewport=PHONE, color_scheme=scheme)
    page.goto(address)
    page.click("#start:enabled")
    while page.wait_for_selector(f"{wanted}, [data-state=asking] #again") and not page.locator(wanted).count():
        page.click("#again")
        page.wait_for_selector("[data-state=counting]")
    image = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    return image


if __name__ == "__main__":
    main()
