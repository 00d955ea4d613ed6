import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from conftest import ROOT
from dvc_render.html import HTML
from dvc_render.vega import VegaRenderer

from kws.commands import plots_page
from kws.plots.figures import COLOURS, MARKERS

TEMPLATE = ROOT / ".dvc" / "plots" / "projection.json"


@pytest.fixture(scope="module")
def page():
    return plots_page.page()


class Tags(HTMLParser):
    """The start tags of a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def filled(page):
    """The page as DVC fills it in, with one chart."""
    rows = [
        {"rev": rev, "x": 0.1, "y": 0.2, "z": 0.3, "word": "yes", "predicted": "no", "name": "yes/1.wav"}
        for rev in ("HEAD", "workspace")
    ]
    chart = VegaRenderer(
        rows,
        "umap.csv",
        x="x",
        y="y",
        x_label="x",
        y_label="y",
        title="UMAP",
        template=TEMPLATE.stem,
        template_dir=TEMPLATE.parent,
    )
    return HTML(page).with_scripts(chart.SCRIPTS).with_element(chart.generate_html()).embed()


def test_the_page_loads_nothing(page):
    tags = Tags()
    tags.feed(filled(page))
    assert [tag for tag, _ in tags.found].count("script") == 2  # the bundle and the chart
    assert not [(tag, name) for tag, attributes in tags.found for name in attributes if name in {"src", "href"}]
    assert "cdn." not in page


def test_the_scripts_stand_before_the_charts_and_run_at_once(page):
    html = filled(page)
    bundle, chart = re.findall(r"<script([^>]*)>", html)
    assert "module" not in bundle + chart
    assert html.index("window.vegaEmbed") < html.index("vegaEmbed('#umap_csv'")
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    assert not re.search(r"(^|[;}\s])(import|export)[\s{*]", script)  # only modules may
    assert script.startswith("(() => {")  # or the bundle's one-letter names would be the page's
    assert script.endswith("})();")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to read JavaScript")
def test_the_script_is_one_that_is_no_module(page, tmp_path):
    script = tmp_path / "bundle.cjs"
    script.write_text(page[page.index("<script>") + 8 : page.index("</script>")])
    subprocess.run(["node", "--check", script], check=True)


def test_dvcs_placeholders_stand_once_each(page):
    assert [page.count(name) for name in ("{plot_divs}", "{refresh_tag}", "{scripts}")] == [1, 1, 0]


def test_the_page_is_where_dvc_looks_for_it(tmp_path):
    subprocess.run([sys.executable, "-m", "kws.commands.plots_page"], cwd=tmp_path, check=True)
    folder, name = re.search(r"html_template = (\S+)/(\S+)", (ROOT / ".dvc" / "config").read_text()).groups()
    assert (tmp_path / ".dvc" / folder / name).read_text() == plots_page.page()


def test_the_projection_template_shows_a_panel_a_revision_and_every_column(page):
    spec = json.JSONDecoder().raw_decode(filled(page).split("var spec = ")[1])[0]
    assert "<DVC_" not in json.dumps(spec)
    assert spec["facet"]["field"] == "rev"
    assert spec["title"]["text"] == "UMAP"
    assert {row["rev"] for row in spec["data"]["values"]} == {"HEAD", "workspace"}
    shown = {item["field"] for item in spec["spec"]["encoding"]["tooltip"]}
    assert shown <= set(spec["data"]["values"][0])
    assert {"name", "word", "predicted"} <= shown


def test_the_projection_template_has_the_colours_of_the_pictures():
    encoding = json.loads(TEMPLATE.read_text())["spec"]["encoding"]
    assert encoding["color"]["scale"]["range"] == COLOURS
    assert len(encoding["shape"]["scale"]["range"]) == len(MARKERS)
