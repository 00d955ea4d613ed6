"""Draws docs/web.png: the page of `kws web` while it hears a sound file as its microphone, light and dark.

`python docs/web_picture.py MODEL SOUND`, with a WAV file of 16 bits. It needs Chromium, and the packages of
`make test`.
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

PICTURE = Path(__file__).with_name("web.png")
PHONE = {"width": 390, "height": 780}
WORDS = 5
GAP = 20  # pixels between both


def main(model: str, sound: str) -> None:
    """Serves the page, lets it hear the sound, and saves what it shows at the end."""
    command = [sys.executable, "-m", "kws", "web", "--port", "0", "--model", model]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (the user's own model)
    devices = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments = ["--no-sandbox", "--disable-gpu", *devices, f"--use-file-for-fake-audio-capture={sound}"]
    try:
        address = server.stdout.readline().split()[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
            shots = [shot(browser, address, scheme) for scheme in ("light", "dark")]
    finally:
        server.terminate()
    width, height = shots[0].size
    both = Image.new("RGB", (2 * width + GAP, height), "white")
    for place, one in enumerate(shots):
        both.paste(one, (place * (width + GAP), 0))
    both.quantize(128).save(PICTURE, optimize=True)


def shot(browser: Browser, address: str, scheme: str) -> Image.Image:
    """The page when it has heard enough words for a picture."""
    page = browser.new_page(viewport=PHONE, color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector("[data-state=ready]")
    page.click("#listen")
    page.wait_for_selector(f"#rows tr:nth-child({WORDS})")
    page.wait_for_timeout(300)  # colours change slowly
    image = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    return image


if __name__ == "__main__":
    main(*sys.argv[1:])
