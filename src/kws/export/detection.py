"""What a file for devices says of its thresholds: what they were chosen for, and what came of it."""

from collections.abc import Mapping
from typing import Any

from kws.spotting.detect import SENSITIVITIES

MEASURED_WITH = "float32"  # the network, by its name in `kws.spotting.litert.KINDS`, whose streams chose the thresholds


def detection(evaluated: Mapping[str, float]) -> dict[str, Any]:
    """The entries of a file's description that say when a word is detected.

    Args:
        evaluated: the content of metrics/evaluate.json.

    Returns:
        `threshold`, that of sensitivity `balanced`; `stream_hours`, of each of the two streams; `measured_with`, the
        network that heard them: the one in float32, also where the file holds another; and `sensitivities`: for each
        its `threshold`, `allowed_false_alarms_an_hour`, and with `validation_` and `test_` before them `missed` and
        `false_alarms_an_hour`, their intervals behind them (`_low`, `_high`). `too_short` is 1 where the streams are
        too short for that rate, `rate_not_kept` where no threshold keeps it.
    """
    return {
        "threshold": evaluated["stream_threshold"],
        "stream_hours": evaluated["stream_hours"],
        "measured_with": MEASURED_WITH,
        "sensitivities": {
            name: {
                key.removeprefix(f"{name}_"): value for key, value in evaluated.items() if key.startswith(f"{name}_")
            }
            for name in SENSITIVITIES
        },
    }
