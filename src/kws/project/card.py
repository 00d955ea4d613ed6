"""The model card: what a user of the model must know. All its figures come from files of the stages."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from kws.core.address import public_address
from kws.core.files import read_json
from kws.core.naming import file_name
from kws.core.params import OUR_EMBEDDING, Params
from kws.evaluate.stream_scores import KINDS as STREAM_KINDS
from kws.evaluate.stream_scores import WITHIN_MS
from kws.recordings.licences import NOT_IN_THE_MODEL, what_follows
from kws.recordings.source import DataSource
from kws.spotting.detect import SENSITIVITIES, one_threshold
from kws.spotting.device_rule import SLICES_A_SECOND
from kws.spotting.litert import KINDS

TEMPLATE = Path(__file__).with_name("card.md.jinja")
OFFICIAL_MODELS = Path(__file__).with_name("official_models.json")  # benchmarks/official_models.py writes it
COST = ("bytes", "multiplications", "multiplications_a_second", "peak_memory_bytes", "arena_bytes")  # some may lack
_NOISE = re.compile(r"noise_(?:clean|(-?\d+)db)_accuracy")


def model_card(params: Params, source: DataSource, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the card in Markdown. It has no section on unknown words or a stream where the metrics have none.

    Args:
        params: of the experiment.
        source: of the recordings.
        figures: the content of metrics/<stage>.json for download, featurize, train, evaluate and export, and of
            metrics/devices.json.
    """
    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 (Markdown, not HTML)
    )
    environment.filters |= {"percent": _percent, "number": _number, "interval": _interval, "code": _code, "json": _json}
    environment.filters["what_follows"] = what_follows
    official = read_json(OFFICIAL_MODELS)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(
        **figures,
        source=source,
        params=params,
        parameters=_public(params.model_dump(mode="json")),
        files=[(kind, file) for kind, file in KINDS.items() if f"{kind}_bytes" in figures["export"]],
        costs=_costs(figures["export"], figures["devices"], official)
        if "answers_a_second" in figures["export"]
        else {},
        official=official,
        not_in_the_model=NOT_IN_THE_MODEL,
        our_embedding=OUR_EMBEDDING,
        words=params.words,
        classes=params.classes,
        sensitivities=SENSITIVITIES,
        one_threshold=_one_threshold(figures["evaluate"]),
        stream_kinds=[("", ""), *((f"{kind}_", f" {where}") for kind, where in STREAM_KINDS.items())],
        within_ms=WITHIN_MS,
        noises=[(name, _level(found[1])) for name in figures["evaluate"] if (found := _NOISE.fullmatch(name))],
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _costs(
    exported: Mapping[str, float], devices: Mapping[str, Any], official: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """What each file costs a device, ours and then the official wake words, by its name in the table.

    As `kws.export.operations.cost` names it, and `arena_bytes`, `answers_a_second`, and `at_our_rate`: the
    multiplications a second if it answered as often as the network of all words.
    """
    ours = exported["answers_a_second"]
    names = {f"{kind}_": (f"`{file}`", ours) for kind, file in KINDS.items()}
    for word, figures in devices.items():
        rate = SLICES_A_SECOND / figures["step_frames"]
        names[f"esphome_{word}_"] = f"`esphome/{file_name(word)}.tflite`", rate
    costs = {
        name: {what: exported[start + what] for what in COST if start + what in exported} | {"answers_a_second": rate}
        for start, (name, rate) in names.items()
        if f"{start}bytes" in exported
    }
    for name, cost in official["models"].items():
        costs[f"official wake word `{name}`"] = cost | {"answers_a_second": official["answers_a_second"]}
    for cost in costs.values():
        if "multiplications" in cost:  # else it has operators that are not counted
            cost["at_our_rate"] = round(cost["multiplications"] * ours)
    return costs


def _public(parameters: dict[str, Any]) -> dict[str, Any]:
    addresses = ("dataset", "dataset_url", "test_dataset", "pretrained")
    return parameters | {name: public_address(parameters[name]) for name in addresses}


def _one_threshold(evaluated: Mapping[str, float]) -> str:
    """Which sensitivities have the same threshold; empty if all differ, or if there was no stream."""
    names = [name for name in SENSITIVITIES if f"{name}_threshold" in evaluated]
    return one_threshold({_code(name): evaluated[f"{name}_threshold"] for name in names})


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _interval(figures: Mapping[str, float], low: str, high: str) -> str:
    return f"{100 * figures[low]:.1f} to {_percent(figures[high])}"


def _code(word: str) -> str:
    return f"`{word}`"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # words are to be read, in any script


def _level(decibels: str | None) -> str:
    return (
        "no noise added"
        if decibels is None
        else f"with background that training does not use, signal-to-noise ratio {decibels} dB"
    )
