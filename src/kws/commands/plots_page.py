"""Writes DVC's plots page with the Vega scripts inside, so that `dvc plots` draws without a network.

DVC's own page loads them from a CDN. Here they come from an installed package, at set-up, by
`python -m kws.commands.plots_page`.
"""

from pathlib import Path

import vl_convert

from kws.core.files import written_whole

PAGE = Path(".dvc/plots/page.html")  # plots.html_template in .dvc/config
VEGA_LITE = "5.21"  # DVC's templates are written for version 5
HTML = """<!DOCTYPE html>
<html>
<head>
    {refresh_tag}
    <meta charset="utf-8">
    <title>DVC plots</title>
    <script>(() => {
"use strict";
VEGA
})();</script>
    <style>
        body {
            font-family: sans-serif;
        }
        table {
            border-spacing: 15px;
        }
    </style>
</head>
<body>
    {plot_divs}
</body>
</html>
"""


def page() -> str:
    """The page, with `{refresh_tag}` and `{plot_divs}` for DVC to fill in.

    DVC's charts call `vegaEmbed` in plain scripts while the page is read, and a module would run after them. So the
    bundle, a module without imports and exports, is wrapped in a function that runs immediately.
    """
    return HTML.replace("VEGA", vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE))


def main() -> None:
    """Writes the page."""
    with written_whole(PAGE) as partial:
        partial.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
