"""What the download stage says of a data set: what it understood, what it left out, and what looks like a mistake."""

from collections.abc import Mapping, Sequence

from kws.core import paths
from kws.core.naming import by_kind, first_names
from kws.core.params import Params
from kws.recordings.clips import look_alikes
from kws.recordings.layout import Layout
from kws.recordings.source import DataSource


def report_lines(
    source: DataSource, layout: Layout, left_out: Mapping[str, str], params: Params, others: Sequence[str]
) -> list[str]:
    """The lines, after the numbers.

    Args:
        source: of the data set.
        layout: of its folders.
        left_out: the files that are no clips, with the reason.
        params: of the experiment.
        others: words that computed voices say beside the chosen ones.
    """
    lines = []
    if "://" in (params.dataset_url or params.dataset) and not source.checked:
        lines.append(f"Its SHA-256 was not checked, since dataset_sha256 is empty. It is {source.sha256}")
    lines += layout.remarks
    lines += [f"left out, {line}; {paths.LEFT_OUT} names them all" for line in by_kind(left_out.items())]
    lines += [
        f"the folder {word!r} ({source.words[word]} clips) is not taken for {chosen!r}; rename it if it is that word"
        for word, chosen in look_alikes(source.words, params.words).items()
    ]
    if others:
        lines.append(
            f"the voices also say {len(others)} other words, made up for _unknown_: {first_names(others)}; "
            f"{paths.SOURCE} has all of them"
        )
    return lines
