"""Measures what a causal network and the front end of small devices cost in accuracy, on *ten* with three seeds.

    python benchmarks/causal.py                                        # from the publisher: 2.4 GB
    python benchmarks/causal.py --mirror file:///data --networks kept  # from a folder, without training anew

Preset fast with both values of `causal` and of `front_end`; everything else of the preset is the same. Front end micro
has twice as many frames. Bytes and multiplications are counted in the files, without the front end. Writes
benchmarks/causal.csv.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runs import SEEDS, downloaded, parser, preset, quiet_figures, run, ten

from kws.audio.micro import SETTINGS
from kws.core.files import write_csv
from kws.evaluate import seeds
from kws.evaluate.metrics import rounded
from kws.export.operations import multiplications
from kws.records.spec import FeatureSpec
from kws.spotting.detect import Timing

TABLE = Path(__file__).with_suffix(".csv")
COSTS = ("parameters", "int8_bytes", "sliding_multiplications_a_second", "stream_multiplications_a_second")
FIGURES = ("test_clips", "accuracy", "accuracy_low", "accuracy_high")
COLUMNS = ("front_end", "causal", "seed", "validation_accuracy", *FIGURES, *COSTS)


def main() -> None:
    """Trains every case with every seed, and writes the table."""
    asked = parser(__doc__).parse_args()
    choice = {**preset("fast"), **ten(asked.mirror)}
    rows: list[dict[str, Any]] = []
    with downloaded(choice) as project:
        for front_end, settings in (("log_mel", {}), ("micro", SETTINGS)):
            for causal in (False, True):
                case = {**choice, **settings, "front_end": front_end, "causal": causal}
                rows += case_rows(project, case, asked.networks)
                write_csv(TABLE, rows, COLUMNS)


def case_rows(project: Path, case: dict[str, Any], networks: Path | None) -> Iterator[dict[str, Any]]:
    """A row for each seed, and one for all: its interval holds the people of the test and the spread of the seeds."""
    named = {"front_end": case["front_end"], "causal": str(case["causal"]).lower()}
    answers, validation = [], []
    for seed in SEEDS:
        trained = run(project, {**case, "seed": seed}, networks, evaluated=False)["train"]
        answered, figures = quiet_figures(project)
        answers.append(answered)
        validation.append(trained["validation_accuracy"])
        costs = {"parameters": int(trained["parameters"])} | costs_of(project)
        yield named | {"seed": seed, "validation_accuracy": validation[-1]} | figures | costs
    mean = {"seed": "all", "validation_accuracy": round(sum(validation) / len(validation), 6)}
    yield named | mean | {"test_clips": figures["test_clips"]} | rounded(seeds.accuracy("accuracy", answers)) | costs


def costs_of(project: Path) -> dict[str, int]:
    """Bytes of the network in 8 bits, and multiplications a second: of a sliding window, and of the stream if any."""
    models = project / "models"
    spec = FeatureSpec.read(project / "data" / "features" / "spec.json").front_end
    answers_a_second = spec.sample_rate / Timing.of(spec.clip_samples, spec.hop_length).step_samples
    counted = {"sliding": models / "network.tflite", "stream": models / "streams" / "stream.tflite"}
    costs = {"int8_bytes": (models / "network_int8.tflite").stat().st_size}
    return costs | {
        f"{name}_multiplications_a_second": round(multiplications(path.read_bytes()) * answers_a_second)
        for name, path in counted.items()
        if path.exists()
    }


if __name__ == "__main__":
    main()
