"""The pair for ESPHome's `micro_wake_word`: the file of a word and its manifest, or lines that say why there is none.

docs/esphome.md says how to use it. The format is that of ESPHome 2026.6.5.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kws.core.naming import file_name
from kws.core.stderr import caught_stderr, without_banners
from kws.export.flatbuffer import all_operators, operators, without_names
from kws.export.operations import cost
from kws.spotting.device_rule import HIGHEST_FEATURE, HIGHEST_SCORE, SLICES_A_SECOND

# All that the component registers.
OPERATORS = frozenset(
    {
        *("ADD", "ASSIGN_VARIABLE", "AVERAGE_POOL_2D", "CALL_ONCE", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D"),
        *("FULLY_CONNECTED", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PACK", "PAD", "QUANTIZE", "READ_VARIABLE"),
        *("RESHAPE", "SPLIT_V", "STRIDED_SLICE", "VAR_HANDLE"),
    }
)
MOST_STATES = 20
INPUT_SCALE = (HIGHEST_FEATURE / HIGHEST_SCORE, -128)  # and zero point
OUTPUT_SCALE = (1 / (HIGHEST_SCORE + 1), 0)
ARENA_STEP, MOST_PLANNING = 16, 2**16  # bytes; the second: what planning may take beyond what is allocated then
# Other processors need another arena, and ESPHome crashes where the first try is too small (its issue 17750).
ARENA_ROOM = 1.5

# What a pair may lose against the network in float32; one that loses more is refused.
DIFFERENCE = 0.05  # of the scores, on average, where one of them is above 0.1
LOST = 0.02  # of the words in the validation stream, more that are missed; the low end of the 95 % interval
ROUNDING = 1e-6  # of the figures


def write_pairs(
    folder: Path, files: Mapping[str, bytes], figures: Mapping[str, Mapping[str, float]], language: str
) -> tuple[dict[str, int], list[str]]:
    """Writes the pair of each word, or into `refused.txt` why there is none.

    Args:
        folder: to write to; it is made.
        files: by word, as `kws.train.device.device_file` makes them.
        figures: the content of metrics/devices.json.
        language: of the words.

    Returns:
        What the files cost, by names that begin with `esphome_<word>_`: as `kws.export.operations.cost` counts it, and
        `arena_bytes`. And a line about each word.
    """
    folder.mkdir()
    costs: dict[str, int] = {}
    lines, refused = [], []
    for word, given in files.items():
        content, name = without_names(given), file_name(word)
        arena = arena_bytes(content)
        reasons = refusals(content, figures[word], arena)
        if arena is None or reasons:
            refused.append(f"{word}: no files for ESPHome, since {'; '.join(reasons)}")
            continue
        told = manifest(word, f"{name}.tflite", figures[word], arena, language)
        (folder / f"{name}.tflite").write_bytes(content)
        (folder / f"{name}.json").write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        of_word = cost(content, SLICES_A_SECOND / figures[word]["step_frames"]) | {"arena_bytes": arena}
        costs |= {f"esphome_{word}_{what}": value for what, value in of_word.items()}
        lines.append(
            f"esphome/{name}.json: {len(content):,} bytes, {arena:,} bytes of memory, "
            "cutoff {cutoff:g}, window of {size:g} scores".format(**figures[word])
        )
        if figures[word].get("lost", 0) > LOST + ROUNDING:
            lines.append(
                f"esphome/{name}.json: 8 bits miss {figures[word]['lost']:.1%} of the words more, where {LOST:.1%} are "
                "the most: the interval allows for that"
            )
    if refused:
        (folder / "refused.txt").write_text("".join(f"{line}\n" for line in refused), encoding="utf-8")
    return costs, lines + refused


def manifest(word: str, model: str, figures: Mapping[str, float], arena: int, language: str) -> dict[str, Any]:
    """The manifest, version 2, of a word.

    Args:
        word: as people say it.
        model: name of the file beside it.
        figures: of the word, from metrics/devices.json.
        arena: bytes that the model needs, as `arena_bytes` measures it.
        language: of the word.
    """
    room = ARENA_STEP * math.ceil(ARENA_ROOM * arena / ARENA_STEP)
    return {
        "type": "micro",
        "wake_word": word,
        "author": "kws",
        "model": model,
        "trained_languages": [language],
        "version": 2,
        "micro": {
            "probability_cutoff": figures["cutoff"],
            "sliding_window_size": int(figures["size"]),
            "feature_step_size": 10,
            "tensor_arena_size": room,
            "minimum_esphome_version": "2024.7.0",
        },
    }


def refusals(content: bytes, figures: Mapping[str, float], arena: int | None) -> list[str]:
    """Why a device could not use a file, or should not; empty if it can.

    Args:
        content: of the file.
        figures: of the word, from metrics/devices.json.
        arena: as `arena_bytes` measures it.
    """
    found = []
    foreign = sorted(all_operators(content) - OPERATORS)
    if foreign:
        found.append(f"ESPHome does not have the operators {', '.join(foreign)}")
    states = operators(content)["VAR_HANDLE"]
    if states > MOST_STATES:
        found.append(f"it has {states} states, where {MOST_STATES} are the most")
    found += _wrong_ends(content, int(figures["step_frames"]))
    if arena is None and not foreign:
        found.append("the memory that it needs is unknown: package tflite-micro, for Linux on x86-64, measures it")
    if figures["differs_by"] > DIFFERENCE + ROUNDING:
        found.append(f"8 bits change the scores by {figures['differs_by']:.2g}, where {DIFFERENCE:g} is the most")
    if figures.get("balanced_validation_missed", 0) == 1:
        found.append("it hears no word of the validation stream at the cutoff of balanced")
    if figures.get("lost_low", 0) > LOST + ROUNDING:
        found.append(
            f"8 bits miss {figures['lost']:.1%} of the words more, at least {figures['lost_low']:.1%} (95 %), where "
            f"{LOST:.1%} are the most"
        )
    return found


def _wrong_ends(content: bytes, step: int) -> list[str]:
    """What is wrong with the input and the output."""
    with without_banners():
        interpreter = Interpreter(model_content=content)
    [takes], [gives] = interpreter.get_input_details(), interpreter.get_output_details()
    wanted = {
        "input": (takes, (1, step, 40), np.int8, INPUT_SCALE),
        "output": (gives, (1, 1), np.uint8, OUTPUT_SCALE),
    }
    return [
        f"its {name} is {found['dtype'].__name__} {tuple(found['shape'].tolist())} in steps of "
        f"{found['quantization'][0]:.6g} from {found['quantization'][1]}, not {np.dtype(kind).name} {shape} in steps "
        f"of {scale[0]:.6g} from {scale[1]}"
        for name, (found, shape, kind, scale) in wanted.items()
        if tuple(found["shape"]) != shape or found["dtype"] != kind or not np.allclose(found["quantization"], scale)
    ]


def arena_bytes(content: bytes) -> int | None:
    """The smallest arena, a multiple of ARENA_STEP, in which TensorFlow Lite Micro runs a file on this machine.

    On the 32 bits of a small device it is smaller. None: package tflite-micro is not there, or cannot run the file.
    """
    try:
        from tflite_micro.python.tflite_micro.runtime import Interpreter as MicroInterpreter
    except ModuleNotFoundError:
        return None
    with caught_stderr() as told:
        try:
            micro = MicroInterpreter.from_bytes(content)
        except RuntimeError:  # it does not have an operator of the file
            return None
        micro.invoke()
        micro.print_allocations()  # to stderr alone
        [total] = re.findall(r"Arena allocation total (\d+) bytes", told())

    def runs(arena: int) -> bool:
        try:
            with without_banners():  # it tells what did not fit
                MicroInterpreter.from_bytes(content, arena_size=arena).invoke()
        except RuntimeError:
            return False
        return True

    # To begin with, planning takes more than what is allocated then. In far too small an arena, it would crash.
    first = ARENA_STEP * math.ceil(int(total) / ARENA_STEP)
    return next(arena for arena in range(first, first + MOST_PLANNING, ARENA_STEP) if runs(arena))
