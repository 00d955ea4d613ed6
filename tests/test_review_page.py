"""What a browser makes of the page of `kws review`: the picture, the sound, the answers, the keys."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from conftest import tone
from test_web_page import ARGUMENTS, CHROMIUM, Visit

from kws.kept.folder import Kept, KeptFolder

from playwright.sync_api import sync_playwright  # isort: skip (after test_web_page, which skips where it is missing)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome")
ROW = Kept("", "2026-05-31T18:04:09", "stop", 0.93, 0.8, "0123456789abcdef", "go, stop", "yes", 0.5, 1.0)


@pytest.fixture
def folder(tmp_path) -> KeptFolder:
    """Three sounds of two seconds, with a tone in their middle."""
    kept = KeptFolder(tmp_path / "kept")
    for word, fired, hertz in (("stop", "yes", 500), ("go", "no", 1000), ("stop", "yes", 3000)):
        sound = np.pad(tone(hertz), 8000) + 1e-3 * np.random.default_rng(hertz).normal(size=32_000)
        kept.add(sound.astype(np.float32), 16_000, replace(ROW, word=word, fired=fired), 9)
    return kept


@pytest.fixture
def visit(folder) -> Iterator[Visit]:
    command = [sys.executable, "-m", "kws", "review", "--port", "0", str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGUMENTS, "--autoplay-policy=no-user-gesture-required"]
        )
        visit = Visit(browser.new_page(), server.stdout.readline().split()[0])
        visit.page.goto(visit.address)
        shown(visit, "1.flac")
        yield visit
        browser.close()
        server.terminate()


def shown(visit: Visit, file: str) -> None:
    visit.page.wait_for_selector(f"body[data-shown='{file}']")


def until(visit: Visit, condition: str) -> None:
    """Waits until JavaScript is true; Page.wait_for_function would need what the page's policy forbids."""
    for _ in range(600):
        if visit.page.evaluate(condition):
            return
        visit.page.wait_for_timeout(100)
    raise AssertionError(condition)


def answers(folder: KeptFolder) -> list[str]:
    return [row.answer for row in folder.rows()]


def test_the_page_asks_about_each_sound_and_writes_the_answers(visit, folder):
    assert visit.text("kind").lower() == "detected"
    assert visit.text("question") == "Is it stop?"
    assert visit.text("about") == "score 93.0 %, threshold 80.0 % · 2026-05-31 18:04:09 · model 0123456789abcdef"
    visit.page.click("text=Yes, stop")
    shown(visit, "2.flac")
    assert answers(folder) == ["stop", "", ""]
    assert visit.text("kind").lower() == "nearly detected"
    visit.page.keyboard.press("n")
    shown(visit, "3.flac")
    assert visit.text("progress") == "2 of 3 answered"
    visit.page.keyboard.press("s")
    visit.page.wait_for_selector("#message:has-text('All have an answer')")
    assert visit.text("message") == f"All have an answer. Next: kws review {folder.path} --to recordings"
    assert answers(folder) == ["stop", "_unknown_", "_background_noise_"]
    listed = visit.page.eval_on_selector_all("#list button", "all => all.map(one => one.innerText.split('\\n'))")
    assert listed == [
        ["stop", "93.0 %", "stop"],
        ["go", "93.0 %", "another word"],
        ["stop", "93.0 %", "no speech"],
    ]
    assert visit.problems == []
    assert all(request.startswith((visit.address, "data:")) for request in visit.requests)


def test_another_word_of_the_model_is_an_answer_and_can_be_taken_back(visit, folder):
    assert visit.page.inner_text("#words") == "No, it is\ngo1"
    visit.page.keyboard.press("1")
    shown(visit, "2.flac")
    assert answers(folder) == ["go", "", ""]
    visit.page.keyboard.press("ArrowLeft")
    shown(visit, "1.flac")
    assert visit.page.get_attribute("#words [data-answer=go]", "aria-pressed") == "true"
    visit.page.keyboard.press("Backspace")
    visit.page.wait_for_selector("#words [data-answer=go][aria-pressed=false]")
    assert answers(folder) == ["", "", ""]
    visit.page.keyboard.press("ArrowLeft")  # round about
    shown(visit, "3.flac")
    assert visit.problems == []


KEY = "(key, more = {}) => document.dispatchEvent(new KeyboardEvent('keydown', {key, ...more}))"


def given(visit: Visit) -> int:
    """How many answers the page has sent."""
    return sum(request.endswith("/answers") for request in visit.requests)


def test_a_second_key_is_no_answer_to_a_sound_that_nobody_has_heard(visit, folder):
    visit.page.evaluate(f"() => ['y', 'n'].forEach(key => ({KEY})(key))")  # before the server has answered
    shown(visit, "2.flac")
    assert (given(visit), answers(folder)) == (1, ["stop", "", ""])
    visit.page.evaluate(f"() => {{ select(2); ({KEY})('n'); }}")  # before the third sound is there
    shown(visit, "3.flac")
    assert (given(visit), answers(folder)) == (1, ["stop", "", ""])
    visit.page.keyboard.press("s")
    shown(visit, "2.flac")
    assert answers(folder) == ["stop", "", "_background_noise_"]


def test_a_key_that_is_held_down_is_no_further_answer(visit, folder):
    visit.page.evaluate(f"() => ['y', 'Backspace'].forEach(key => ({KEY})(key, {{repeat: true}}))")
    visit.page.keyboard.press("n")
    shown(visit, "2.flac")
    assert (given(visit), answers(folder)) == (1, ["_unknown_", "", ""])


def test_every_word_of_a_model_of_many_is_an_answer(visit, folder):
    words = ["go", "stop", *(f"word {number:02d}" for number in range(12))]
    folder.add(np.zeros(16_000, np.float32), 16_000, replace(ROW, words=", ".join(words)), 9)
    visit.page.reload()
    shown(visit, "1.flac")
    listed = visit.page.eval_on_selector_all("#words button", "all => all.map(one => one.dataset.answer)")
    assert listed == [word for word in words if word != "stop"]
    assert visit.page.eval_on_selector_all("#words kbd", "all => all.map(one => one.textContent)") == list("123456789")
    visit.page.click("#words [data-answer='word 11']")
    shown(visit, "2.flac")
    assert answers(folder)[0] == "word 11"


def test_what_is_wrong_with_the_folder_stands_in_the_page(visit, folder):
    table = folder.path / "kept.csv"
    table.write_text(table.read_text().replace("1.flac", "звук.flac"), encoding="utf-8")
    visit.page.keyboard.press("y")
    visit.page.wait_for_selector("#message.wrong")
    assert "'звук.flac' is no name of a sound in this folder" in visit.text("message")


def test_the_picture_marks_what_the_model_heard_and_shows_the_tone_there(visit):
    boxes = {name: visit.page.locator(name).bounding_box() for name in ("#picture", "#before", "#behind")}
    whole = boxes["#picture"]["width"]
    assert boxes["#before"]["width"] == pytest.approx(whole / 4, abs=2)
    assert boxes["#behind"]["width"] == pytest.approx(whole / 4, abs=2)
    bright = """() => {
      const canvas = document.querySelector("canvas"), {width, height} = canvas;
      const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
      const bright = [...Array(width * height).keys()].filter(place => pixels[4 * place] > 230);
      return {width, height, x: bright.map(place => place % width), y: bright.map(place => Math.floor(place / width))};
    }"""
    low = visit.page.evaluate(bright)
    assert (low["width"], low["height"]) == (201, 64)
    assert np.mean(low["x"]) == pytest.approx(100, abs=4)
    visit.page.keyboard.press("ArrowLeft")
    shown(visit, "3.flac")
    high = visit.page.evaluate(bright)
    assert np.mean(high["y"]) < np.mean(low["y"]) - 20  # a higher tone is further up


def test_the_sound_is_played_with_the_space_bar_and_by_a_click(visit):
    for play in (lambda: visit.page.keyboard.press(" "), lambda: visit.page.click("#picture")):
        until(visit, "audio.paused")
        play()
        until(visit, "!audio.paused && audio.currentTime > 0.1 && !document.querySelector('#head').hidden")
    assert visit.page.evaluate("audio.duration") == pytest.approx(2)
    assert visit.problems == []


def test_the_space_bar_gives_no_answer_though_a_button_has_the_focus(visit, folder):
    visit.page.focus("#answers button")
    visit.page.keyboard.press(" ")
    until(visit, "!audio.paused")
    assert answers(folder) == ["", "", ""]


def test_an_answer_that_could_not_be_written_is_said_and_not_shown_as_given(visit, folder):
    visit.page.route("**/answers", lambda route: route.abort())
    visit.page.keyboard.press("y")
    visit.page.wait_for_selector("#message.wrong")
    assert visit.text("message") == "kws review no longer runs: start it again, and reload this page"
    assert visit.text("progress") == "0 of 3 answered"
    assert answers(folder) == ["", "", ""]


def test_a_sound_that_was_dropped_meanwhile_is_said(visit, folder):
    (folder.path / "2.flac").unlink()
    visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_selector("#message.wrong")
    assert visit.text("message").startswith("this sound is no longer there")


def test_on_a_small_screen_the_picture_stays_in_view(visit):
    visit.page.set_viewport_size({"width": 400, "height": 500})
    visit.page.keyboard.press("ArrowLeft")
    shown(visit, "3.flac")
    assert visit.page.evaluate("[scrollY, document.documentElement.scrollWidth <= innerWidth]") == [0, True]
    visit.page.evaluate("scrollTo(0, 1e6)")
    assert visit.page.evaluate("scrollY > 0")  # and the list can be reached
