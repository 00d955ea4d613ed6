"""How much noise a network stands: the test clips again, with background that training has not heard."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.evaluate import metrics
from kws.recordings.manifest import Recording

SNR_DB = (20, 15, 10, 5, 0, -5)
COLUMNS = ("snr_db", "noise", "accuracy", "accuracy_low", "accuracy_high", "clips")
ALL = "all"
DRAW = 1  # a constant: the seed of an experiment must not change what is measured

# log-Mel of clips, (frames, mel_bins) each -> probabilities (clips, classes)
Predict = Callable[[Iterable[np.ndarray]], np.ndarray]


def sweep(
    predict: Predict,
    recordings: Sequence[Recording],
    noises: Mapping[str, np.ndarray],
    *,
    front_end: FrontEnd,
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Accuracy at each signal-to-noise ratio, over all backgrounds and for each.

    The ratio is that of mean powers over a clip's length; noise is added to the waveform. At each ratio every clip is
    heard once, in one of the backgrounds, which have equal shares.

    Returns:
        A row for each ratio and background (and `all` of them), as COLUMNS.
    """
    rng = np.random.default_rng(DRAW)
    kinds = sorted(noises)
    speakers = np.array([recording.speaker for recording in recordings])
    labels = np.array([classes.index(recording.label) for recording in recordings])
    kind_of = rng.permutation(np.arange(len(recordings)) % len(kinds))
    first = rng.uniform(size=len(recordings))
    rows = []
    for snr in SNR_DB:
        noisy = (
            _mix(recording.waveform, noises[kinds[kind]], start, snr)
            for recording, kind, start in zip(recordings, kind_of, first, strict=True)
        )
        predicted = predict(front_end.log_mel(waveform) for waveform in noisy).argmax(axis=1)
        correct = predicted == labels
        for kind, chosen in [(ALL, slice(None)), *((kind, kind_of == number) for number, kind in enumerate(kinds))]:
            if len(correct[chosen]):  # there may be fewer clips than backgrounds
                rows.append({"snr_db": snr, "noise": kind, **_accuracy(correct[chosen], speakers[chosen])})
    return rows


def _mix(waveform: np.ndarray, noise: np.ndarray, start: float, snr_db: float) -> np.ndarray:
    """A clip with a stretch of noise under it; `start`, 0 to 1, says which."""
    first = round(start * (len(noise) - len(waveform)))
    stretch = noise[first : first + len(waveform)]
    power, noise_power = np.mean(np.square(waveform)), max(np.mean(np.square(stretch)), np.finfo(np.float32).tiny)
    return waveform + stretch * np.float32(np.sqrt(power / noise_power * 10 ** (-snr_db / 10)))


def _accuracy(correct: np.ndarray, speakers: np.ndarray) -> dict[str, Any]:
    figures = metrics.share_figures("accuracy", correct, speakers)
    return {name: round(value, 6) for name, value in figures.items()} | {"clips": len(correct)}


def figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures of `metrics/evaluate.json`: accuracy at each ratio over all backgrounds, and its interval."""
    return {
        f"noise_{row['snr_db']}db_{name}": row[name]
        for row in rows
        if row["noise"] == ALL
        for name in ("accuracy", "accuracy_low", "accuracy_high")
    }
