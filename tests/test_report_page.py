"""The report of a pull request as a page: a change that helps, one that does nothing, one that harms."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_web_page import ARGUMENTS, CHROMIUM

from kws.commands import report
from kws.evaluate.answers import Answers

from playwright.sync_api import sync_playwright  # isort: skip (after test_web_page, which skips where it is missing)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome")
WORDS = ["down", "go", "left", "lights on", "no", "off", "right", "stop", "up", "yes"]
EVALUATED = {
    name: value
    for name, share in (("noise_0db_accuracy", 0.6), ("stream_missed", 0.2), ("stream_false_alarms_an_hour", 2.0))
    for name, value in ((name, share), (f"{name}_low", share / 2), (f"{name}_high", share * 1.4))
}
EXPORTED = {"int8_bytes": 65_432, "int8_multiplications": 1_234_567, "features_arena_bytes": 40_960}


def answers(errors: float, seed: int) -> Answers:
    """Answers to 400 clips of 40 people; a network with another seed is another network that is as good."""
    rng = np.random.default_rng(seed)
    labels = np.arange(400) % len(WORDS)
    logits = rng.normal(size=(400, len(WORDS)))
    logits[np.arange(400), labels] += np.where(rng.random(400) < errors, 0, 6)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [f"{WORDS[label]}/{n // 10:02}_nohash_{n % 10}.wav" for n, label in enumerate(labels)]
    speakers = np.array([f"s{n // 10}" for n in range(400)])
    return Answers(np.array(names), speakers, labels, probabilities.astype(np.float32), np.zeros((400, 0), np.float32))


def version(errors: float, seed: int, *, smaller: bool = False) -> report.Version:
    exported = {name: value // 2 if smaller else value for name, value in EXPORTED.items()}
    return report.Version(
        answers(errors, seed), answers(errors, seed + 100), WORDS, evaluated=EVALUATED, exported=exported,
        recordings=("a.dir", None),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("errors", "smaller", "sentence", "end"),
    [
        (0.05, False, "On validation, it is better: +", "The gate lets it pass."),
        (0.15, True, "On validation, it is not known to differ: ", "The gate lets it pass."),
        (0.35, False, "On validation, it is worse: -", "The gate stops it."),
    ],
    ids=["helps", "nothing", "harms"],
)
def test_the_report_is_a_page_with_its_tables_and_pictures(errors, smaller, sentence, end, tmp_path: Path):
    base, change = version(0.15, 1), version(errors, 2, smaller=smaller)
    parameters = [{"name": "mel_bins", "old": "40", "new": "64"}]
    about = report.About(["1234567 Main", "89abcde More bins"], uncommitted=False, parameters=parameters, stale=[])
    report.pictures(base, change, ("A", "B"), tmp_path)
    text = report.report(base, change, about)
    (tmp_path / "report.md").write_text(text, encoding="utf-8")
    address = runpy.run_path(str(ROOT / "docs" / "report_picture.py"))["page"](tmp_path).as_uri()
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 820, "height": 900})
        page.goto(address)
        shown = page.inner_text("body")
        widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        tables = page.evaluate("[...document.querySelectorAll('table')].map(table => table.rows.length)")
        headings = page.evaluate("[...document.querySelectorAll('h3')].map(heading => heading.textContent)")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        browser.close()
    assert shown.partition("\n\n")[2].startswith(sentence)
    assert shown.partition("\n\n")[2].partition("\n")[0].endswith(end)
    assert len(widths) == 2
    assert min(widths) >= 800
    mistakes = min(int((base.validation.correct & ~change.validation.correct).sum()), report.WORST)
    assert tables == [3, 2, 1 + mistakes, 4, 4]
    assert headings == [
        *("Parameters", "Confusion", "New mistakes", "Other figures of the test", "Size of the exported files"),
        "What the test holds, and what it leaves out",
    ]
    assert "|" not in shown  # every row of a table became one
    assert ("-50.0 %" in shown) == smaller
