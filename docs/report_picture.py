"""Draws docs/report.png: the first part of the report that `make report` has written.

`python docs/report_picture.py`. It needs Chromium, and the packages of `make test`.
"""

import shutil
from pathlib import Path

from markdown_it import MarkdownIt
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name("report.png")
REPORT = Path("plots/report")
SCREEN = {"width": 820, "height": 1150}
STYLE = """body { font: 14px sans-serif; width: 780px; margin: 16px } img { max-width: 100% }
table { border-collapse: collapse; display: block; overflow: auto } td, th { border: 1px solid #ccc; padding: 4px 10px }
code { background: #eee } blockquote { border-left: 4px solid #c00; margin: 0; padding-left: 12px }"""


def page(report: Path) -> Path:
    """Writes the report in a folder as a page that looks about as on GitHub, beside it, and returns the page."""
    html = MarkdownIt("commonmark").enable("table").render((report / "report.md").read_text(encoding="utf-8"))
    written = report / "report.html"
    written.write_text(f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><body>{html}", encoding="utf-8")
    return written


def main() -> None:
    """Saves what a browser shows."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        shown = browser.new_page(viewport=SCREEN)
        shown.goto(page(REPORT.resolve()).as_uri())
        shown.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
