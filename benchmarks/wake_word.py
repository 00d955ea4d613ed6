"""Trains a wake word for small devices, and judges its file for ESPHome beside an official one, on the same sound.

    python benchmarks/wake_word.py --mirror file:///data --official pymicro_wakeword-2.5.0-*.whl

Preset device with one word of Speech Commands, other words, silence. The streams are those of stage evaluate: people,
other words and background that training has not heard. The device's own rule counts. Validation chooses our cutoff. The
official wake words have the cutoff of their manifests. Nobody says these words in the streams, so that all that they
detect is false. Writes benchmarks/wake_word.csv.
"""

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runs import add_row, address, downloaded, parser, preset, run

from kws.core import paths
from kws.core.naming import file_name
from kws.evaluate import devices, stream_sound
from kws.evaluate.stream import HeardStretch, Stretch
from kws.evaluate.stream_scores import false_alarm_figures
from kws.recordings import background
from kws.recordings.clips import read_clips
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec
from kws.spotting.device_rule import cutoff_of

TABLE = Path(__file__).with_suffix(".csv")
WORDS = ("stop", "happy")
MINUTES = 240
FALSE_ALARMS_AN_HOUR = 0.5  # wanted
MODELS = "pymicro_wakeword/models/"  # in the wheel
NOBODY_SAYS = -1  # the class of a word that is not in the streams
SHARES = tuple(
    f"{name}{end}" for name in ("missed", "float32_missed", "false_alarms_an_hour") for end in ("", "_low", "_high")
)
COLUMNS = ("stream", "file", "hours", "words", "cutoff", "size", *SHARES, "lost", "delay_seconds", "delay_95_seconds")
KEY = ("stream", "file")


def main() -> None:
    """Trains each word, and writes its row and those of the official words in its stream."""
    options = parser(__doc__)
    options.add_argument("--official", type=Path, required=True, help="the wheel of pymicro-wakeword")
    options.add_argument("--word", choices=WORDS, help="only this word")
    asked = options.parse_args()
    for word in WORDS if asked.word is None else (asked.word,):
        changes = {
            **preset("device"),
            "dataset": "speech_commands",
            "dataset_url": address(asked.mirror, "speech_commands"),
            "words": [word],
        }
        with downloaded(changes) as project:
            run(project, changes, asked.networks, evaluated=False)
            with contextlib.chdir(project):
                for row in rows(word, asked.official):
                    add_row(TABLE, row, COLUMNS, KEY)


def rows(word: str, official: Path) -> Iterator[dict[str, Any]]:
    """The row of our file, and those of the official ones, in the streams of the experiment in this folder."""
    spec = FeatureSpec.read(paths.SPEC)
    ours, float32 = (
        devices.DeviceNetwork(paths.DEVICES / f"{file_name(word)}.tflite"),
        devices.DeviceNetwork(paths.DEVICE_FLOAT32),
    )
    number = spec.classes.index(word)
    heard = {
        split: devices.hear({number: ours}, float32, stream(split, word, spec), spec.front_end)[number]
        for split in ("validation", "test")
    }
    figures = devices.score_word(heard["validation"], heard["test"], FALSE_ALARMS_AN_HOUR)
    yield {"stream": word, "file": f"ours: {word}"} | {
        name: value for name, value in figures.items() if name in COLUMNS
    }
    with tempfile.TemporaryDirectory() as folder:
        networks = list(official_words(official, Path(folder)))
        parts: list[list[HeardStretch]] = [[] for _ in networks]
        for stretch in stream("test", word, spec):
            script = [replace(said, word=None) for said in stretch.script]
            for heard_by, (_, _, network) in zip(parts, networks, strict=True):
                scores = network.hear(stretch.log_mel)[:, 0]
                heard_by.append(HeardStretch(scores, script, stretch.background))
        for heard_by, (name, manifest, network) in zip(parts, networks, strict=True):
            judged = devices.DeviceStream(heard_by, NOBODY_SAYS, network.step, spec.front_end)
            cutoff, size = manifest["micro"]["probability_cutoff"], manifest["micro"]["sliding_window_size"]
            outcome = judged.at(cutoff_of(cutoff), size)
            row = {"stream": word, "file": f"official: {name}", "hours": round(outcome.hours, 6)}
            row |= {"cutoff": cutoff, "size": size}
            rate = false_alarm_figures("false_alarms_an_hour", outcome)
            yield row | {key: round(float(value), 6) for key, value in rate.items()}


def stream(split: str, word: str, spec: FeatureSpec) -> Iterator[Stretch]:
    """The stream of a split, as stage evaluate makes it."""
    source = DataSource.read(paths.SOURCE)
    noises, _ = background.read_background(
        source.archive_of("train"), read_clips(paths.CLIPS), spec.front_end, ("validation", "test")
    )
    return stream_sound.stream_of(split, paths.MANIFEST, source, spec, noises, words=[word], minutes=MINUTES)


def official_words(wheel: Path, folder: Path) -> Iterator[tuple[str, Mapping[str, Any], devices.DeviceNetwork]]:
    """Name, manifest and network of each official wake word in the wheel; the files go into a folder."""
    with zipfile.ZipFile(wheel) as archive:
        for member in sorted(archive.namelist()):
            if member.startswith(MODELS) and member.endswith(".json"):
                manifest = json.loads(archive.read(member))
                path = folder / manifest["model"]
                path.write_bytes(archive.read(MODELS + manifest["model"]))
                yield Path(member).stem, manifest, devices.DeviceNetwork(path)


if __name__ == "__main__":
    main()
