"""The manifest, a row for each clip; and what featurize says of recordings that it set aside or mended."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kws.core.naming import by_kind
from kws.featurize.compute import Features
from kws.featurize.splits import Chosen

MANIFEST_COLUMNS = (
    *("name", "recording", "start", "word", "class", "speaker", "split", "samples", "status", "reason", "remarks"),
)


def manifest_row(choice: Chosen, features: Features) -> dict[str, str]:
    """A row of manifest.csv; `start` is in seconds, `samples` the length of the recording."""
    clip = choice.clip
    status = "set aside" if features.reason else "ok"
    where = (features.name, clip.name, f"{features.start:g}", clip.spoken, choice.label, clip.speaker, choice.split)
    values = (*where, str(features.samples), status, features.reason, "; ".join(features.remarks))
    return dict(zip(MANIFEST_COLUMNS, values, strict=True))


def left_out_row(choice: Chosen, reason: str) -> dict[str, str]:
    """A row of manifest.csv for a recording that is in no split."""
    name = choice.clip.name
    return manifest_row(choice, Features(name, name, 0.0, 0, None, reason))


def report_lines(rows: Sequence[Mapping[str, str]], background: Mapping[str, str], manifest: Path) -> list[str]:
    """Lines with numbers and first names.

    Args:
        rows: of the manifest.
        background: remarks on background recordings, by name.
        manifest: where the whole list stands.
    """
    set_aside = [(row["recording"], row["reason"]) for row in rows if row["reason"]]
    remarks = [(row["name"], remark) for row in rows for remark in row["remarks"].split("; ") if remark]
    lines = [f"set aside, {line}" for line in by_kind(set_aside)] + by_kind(remarks)
    if lines:
        lines.append(f"{manifest} names them all")
    return lines + [f"background {name}: {remark}" for name, remark in background.items()]
