"""How much noise a network stands: the test clips again, with background that training has not heard."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kws.audio.frontend import FrontEnd
from kws.core.parallel import map_in_order
from kws.evaluate import metrics
from kws.evaluate.conditions import Sound, measure
from kws.recordings.manifest import Recording

SNR_DB = (20, 15, 10, 5, 0, -5)
COLUMNS = ("snr_db", "noise", "accuracy", "accuracy_low", "accuracy_high", "clips")
ALL = "all"
DRAW = 1  # another number draws other noise under each clip. No parameter: a seed must not change what is measured
CLIPS_A_TASK = 16  # each is heard at every ratio

# log-Mel of clips, (frames, mel_bins) each -> probabilities (clips, classes)
Predict = Callable[[Iterable[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class NoiseOutcome:
    """What networks make of clips in noise.

    Attributes:
        speakers: (clips,), who speaks.
        sounds: by name of the clip, what is measured of it before noise is added.
        noises: (clips,), name of the background under each clip.
        correct: by name of the network, bool (clips, ratios), whether its answer is right at each ratio of SNR_DB.
    """

    speakers: np.ndarray
    sounds: dict[str, Sound]
    noises: np.ndarray
    correct: dict[str, np.ndarray]


def sweep(  # noqa: PLR0913 (a measurement has that many ingredients)
    networks: Mapping[str, Predict],
    recordings: Iterable[Recording],
    noises: Mapping[str, np.ndarray],
    *,
    front_end: FrontEnd,
    classes: Sequence[str],
    threads: int,
) -> NoiseOutcome:
    """Measures clips and asks networks about them in noise, in one pass: some tens of them are in memory at a time.

    The signal-to-noise ratio is that of mean powers over a clip's length; noise is added to the waveform. Each clip is
    heard at every ratio over the same stretch of one background. Which one follows from the clip's name alone, so that
    it does not depend on the other clips.

    Args:
        networks: by name. Several threads call them at a time.
        recordings: the clips.
        noises: background recordings, float32 (samples,), by name; each at least as long as a clip.
        front_end: what computes the features.
        classes: of the networks, in their order.
        threads: that share the work; the outcome does not depend on their number.
    """
    kinds = sorted(noises)

    def work(task: list[Recording]) -> NoiseOutcome:
        under, log_mels = [], []
        for recording in task:
            kind, start = _drawn(recording.name, len(kinds))
            under.append(kinds[kind])
            noise = noises[kinds[kind]]  # a look-up may read a file
            log_mels += [front_end.clip_log_mel(_mix(recording.waveform, noise, start, snr)) for snr in SNR_DB]
        labels = np.array([classes.index(recording.label) for recording in task])
        predicted = {name: predict(log_mels).argmax(axis=1) for name, predict in networks.items()}
        return NoiseOutcome(
            speakers=np.array([recording.speaker for recording in task]),
            sounds={recording.name: measure(recording.waveform, front_end.sample_rate) for recording in task},
            noises=np.array(under),
            correct={name: guess.reshape(-1, len(SNR_DB)) == labels[:, None] for name, guess in predicted.items()},
        )

    tasks = list(map_in_order(work, recordings, CLIPS_A_TASK, threads))
    return NoiseOutcome(
        speakers=np.concatenate([task.speakers for task in tasks]),
        sounds={name: sound for task in tasks for name, sound in task.sounds.items()},
        noises=np.concatenate([task.noises for task in tasks]),
        correct={name: np.concatenate([task.correct[name] for task in tasks]) for name in networks},
    )


def _drawn(name: str, kinds: int) -> tuple[int, float]:
    """Which background a clip gets, and which stretch of it (0 to 1)."""
    rng = np.random.default_rng([DRAW, *hashlib.sha256(name.encode()).digest()])
    return int(rng.integers(kinds)), float(rng.uniform())


def _mix(waveform: np.ndarray, noise: np.ndarray, start: float, snr_db: float) -> np.ndarray:
    """A clip with a stretch of noise under it; `start`, 0 to 1, says which."""
    first = round(start * (len(noise) - len(waveform)))
    stretch = noise[first : first + len(waveform)]
    power, noise_power = np.mean(np.square(waveform)), max(np.mean(np.square(stretch)), np.finfo(np.float32).tiny)
    return waveform + stretch * np.float32(np.sqrt(power / noise_power * 10 ** (-snr_db / 10)))


def rows(outcome: NoiseOutcome, network: str) -> list[dict[str, Any]]:
    """Accuracy of a network at each ratio, over all backgrounds (`all`) and for each that some clip got, as COLUMNS."""
    chosen = {ALL: np.ones(len(outcome.noises), bool)}
    chosen |= {kind: outcome.noises == kind for kind in np.unique(outcome.noises).tolist()}
    table = []
    for number, snr in enumerate(SNR_DB):
        for kind, clips in chosen.items():
            share = metrics.share_figures("accuracy", outcome.correct[network][clips, number], outcome.speakers[clips])
            table.append({"snr_db": snr, "noise": kind, **metrics.rounded(share), "clips": int(clips.sum())})
    return table


def figures(table: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures of `metrics/evaluate.json`: accuracy at each ratio over all backgrounds, and its interval."""
    return {
        f"noise_{row['snr_db']}db_{name}": row[name]
        for row in table
        if row["noise"] == ALL
        for name in ("accuracy", "accuracy_low", "accuracy_high")
    }
