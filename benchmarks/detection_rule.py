"""Compares the rule of detection with the one of before, and measures what its constants cost, for docs/decisions/0009.

    python benchmarks/detection_rule.py                         # from the publishers' addresses
    python benchmarks/detection_rule.py --networks FOLDER       # with trained networks from a folder
    python benchmarks/detection_rule.py --case "balanced"       # only one case

Trains with the pipeline's own stages in a scratch folder, and asks the network about the streams of validation and
test. Writes benchmarks/detection_rule.csv: for each rate of false alarms and each rule the threshold that validation
chooses, and what test says of it. The delays are there twice: in the figures `strict_...`, words end earlier. Writes
benchmarks/detection_rule_sweep.csv: what other constants give on validation.

The rule of before averaged the windows up to a quarter of a clip around each one. A word was detected where its average
was the highest of all within a clip's length, and told when no later sound could change that.
"""

import contextlib
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from presets import cases
from runs import add_row, downloaded, parser, run

from kws.audio.cut import speech_interval
from kws.audio.frontend import FrontEnd
from kws.core import paths
from kws.evaluate import metrics, stream_sound
from kws.evaluate.network import EvaluatedNetwork
from kws.evaluate.stream import SECONDS, THRESHOLDS, HeardStream, HeardStretch, Reaction, StreamOutcome, Stretch, judge
from kws.evaluate.stream_scores import WITHIN_MS, delay_figures
from kws.recordings import background
from kws.recordings.clips import read_clips
from kws.recordings.source import DataSource
from kws.records.spec import FeatureSpec
from kws.spotting.detect import Timing, lowest

TABLE = Path(__file__).with_suffix(".csv")
SWEEP = TABLE.with_stem(f"{TABLE.stem}_sweep")
CASES = ("balanced", "best", "fast")  # of benchmarks/presets.py: eight words with unknown and silence, and ten
SEED, MINUTES, THREADS = 1, 360, 2
RATES = (0.5, 1, 2, 5, 10, 20, 40, 80, 160)  # false alarms an hour that are allowed
BEFORE, NOW = "before", "now"
HELD, APART_CLIPS = range(1, 9), (0.5, 1.5)  # of these one is changed at a time; the rule has a pause of 1
STRICT_DB = 20.0  # below the peak: where a word ends in the figures `strict_...`; elsewhere it is 30 dB
STRICT = "strict_"
DELAYS = ("delay_seconds", "delay_95_seconds")  # of the words that are heard
WITHIN = tuple(f"within_{limit}_ms" for limit in WITHIN_MS)  # of all words
FIGURES = ("missed", "false_alarms_an_hour", "more_missed", *WITHIN, *(f"{STRICT}{name}" for name in WITHIN))
KEY = ("case", "allowed", "rule")
COLUMNS = (
    *(*KEY, "threshold", "hours", "words", "validation_missed", "validation_false_alarms_an_hour"),
    *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")),
    *("before_missed_at_same", *DELAYS, *(f"{STRICT}{name}" for name in DELAYS)),
)
SWEEP_KEY = ("case", "held", "apart", "allowed")
SWEEP_COLUMNS = (*SWEEP_KEY, "held_seconds", "apart_seconds", "missed", "false_alarms_an_hour", *DELAYS)


@dataclass(frozen=True)
class Windows:
    """What a network makes of a stream, before any rule.

    Attributes:
        front_end: computed the features.
        words: the classes to detect.
        probabilities: of each stretch, by the frames from one window to the next: (windows, classes).
        stretches: what is said in each, and the background.
        earlier: by how many seconds the word of a clip ends earlier with STRICT_DB, by the clip's name.
    """

    front_end: FrontEnd
    words: Sequence[int]
    probabilities: dict[int, list[np.ndarray]]
    stretches: list[Stretch]
    earlier: dict[str, float]

    def heard(self, timing: Timing) -> HeardStream:
        """What the rule of now hears with these times."""
        rate = self.front_end.sample_rate
        parts = [
            HeardStretch(lowest(windows[:, list(self.words)], timing.held), stretch.script, stretch.background)
            for windows, stretch in zip(self.probabilities[timing.step_frames], self.stretches, strict=True)
        ]
        return HeardStream(parts, self.words, timing, timing.step_samples / rate, self.front_end.clip_samples / rate)


# the rule of before


class Candidate(NamedTuple):
    """A window that may become a detection."""

    window: int
    word: int
    score: float


class Told(NamedTuple):
    """A detection, and the newest window that had to be heard before it was told."""

    found: Candidate
    at: int


def frames_before(front_end: FrontEnd) -> int:
    """Frames from one window to the next."""
    return max(1, round(front_end.clip_samples / 10 / front_end.hop_length))


def detections_before(windows: Iterable[np.ndarray], words: Sequence[int], around: int, reach: int) -> Iterator[Told]:
    """Yields the windows in which a word's score is the highest within `reach` windows, as soon as this is known.

    Args:
        windows: probabilities of the classes, (classes,) for each window.
        words: the classes to detect.
        around: how many windows are averaged.
        reach: windows to each side.
    """
    open_ones: list[Candidate] = []
    settled: list[Candidate] = []  # these wait for an earlier one, so that all are yielded in order
    window = newest = -1
    for window, (newest, probabilities) in enumerate(smooth(windows, around)):
        word = max(words, key=lambda word: probabilities[word])
        open_ones.append(Candidate(window, word, float(probabilities[word])))
        settled += settle(open_ones, reach, window)
        settled.sort()
        while settled and (not open_ones or settled[0].window < open_ones[0].window):
            yield Told(settled.pop(0), newest)
    for candidate in sorted([*settled, *settle(open_ones, reach, window + reach)]):
        yield Told(candidate, newest)


def smooth(windows: Iterable[np.ndarray], count: int) -> Iterator[tuple[int, np.ndarray]]:
    """The mean of the `count` windows around each one, the first and last repeated; and the newest that it needs."""
    around: deque[np.ndarray] = deque(maxlen=count)
    half = count // 2
    newest = -1
    for newest, window in enumerate(windows):
        if not around:
            around.extend([window] * half)
        around.append(window)
        if len(around) == count:
            yield newest, np.mean(around, axis=0)
    last = around[-1]
    for _ in range(half):
        around.append(last)
        if len(around) == count:
            yield newest, np.mean(around, axis=0)


def settle(open_ones: list[Candidate], reach: int, newest: int) -> Iterator[Candidate]:
    """Removes and yields detections that windows after `newest` cannot change. Of equal scores the first counts."""
    while True:
        best = next((one for one in open_ones if is_highest(one, open_ones, reach)), None)
        if best is None or best.window + reach > newest:
            return
        open_ones[:] = [one for one in open_ones if abs(one.window - best.window) > reach]
        yield best


def is_highest(one: Candidate, others: Sequence[Candidate], reach: int) -> bool:
    """Whether no other one nearby has a higher score."""
    return all(
        (other.score, -other.window) <= (one.score, -one.window)
        for other in others
        if abs(other.window - one.window) <= reach
    )


@dataclass(frozen=True)
class StretchBefore(HeardStretch):
    """What is detected in a stretch at any threshold: a higher one leaves detections out, and changes no other one."""

    told: list[Told]


@dataclass(frozen=True)
class HeardBefore(HeardStream):
    """What the rule of before hears of a stream."""

    def _judged(self, heard: StretchBefore, threshold: float) -> StreamOutcome:
        told = [one for one in heard.told if one.found.score >= threshold]
        starts = self.step * np.array([one.found.window for one in told])
        reactions = [
            Reaction(start, start + self.clip, one.found.word, one.found.score)
            for start, one in zip(starts.tolist(), told, strict=True)
        ]
        outcome = judge(reactions, heard.script, heard.background, SECONDS / 3600)
        right = ~outcome.missed
        if right.any():  # it is told later than at the end of its window
            ends = np.array([one.end for one in heard.script if one.word is not None])[right] + outcome.delays[right]
            waits = self.step * np.array([one.at - one.found.window for one in told])
            outcome.delays[right] += waits[np.searchsorted(starts + self.clip, ends - self.step / 2)]
        return outcome


def before(windows: Windows) -> HeardBefore:
    """What the rule of before hears."""
    front_end = windows.front_end
    frames = frames_before(front_end)
    step = frames * front_end.hop_length
    around, reach = 1 + 2 * (front_end.clip_samples // (4 * step)), -(-front_end.clip_samples // step) - 1
    parts = []
    for probabilities, stretch in zip(windows.probabilities[frames], windows.stretches, strict=True):
        told = list(detections_before(probabilities, windows.words, around, reach))
        parts.append(StretchBefore(probabilities, stretch.script, stretch.background, told))
    times = (samples / front_end.sample_rate for samples in (step, front_end.clip_samples))
    return HeardBefore(parts, windows.words, Timing(frames, step, around, reach + 1), *times)


# the measurement


def windows_of(project: Path, split: str, words: Sequence[str]) -> Windows:
    """What the trained network of a project makes of the stream of a split."""
    with contextlib.chdir(project):
        spec, source = FeatureSpec.read(paths.SPEC), DataSource.read(paths.SOURCE)
        front_end = spec.front_end
        noises, _ = background.read_background(
            source.archive_of("train"), read_clips(paths.CLIPS), front_end, ("validation", "test")
        )
        said, other = stream_sound.recordings_of(paths.MANIFEST, split, source, words, front_end)
        network = EvaluatedNetwork(paths.NETWORK, THREADS)
        now = Timing.of(front_end.clip_samples, front_end.hop_length).step_frames
        probabilities: dict[int, list[np.ndarray]] = {now: [], frames_before(front_end): []}
        stretches = []
        for stretch in stream_sound.stretches(
            said,
            other,
            noises[split],
            front_end=front_end,
            classes=spec.classes,
            minutes=MINUTES,
            seed=stream_sound.SEEDS[split],
        ):
            windows = np.lib.stride_tricks.sliding_window_view(stretch.log_mel, front_end.frames, axis=0)
            for frames, heard in probabilities.items():
                heard.append(network.probabilities(windows[::frames].transpose(0, 2, 1)))
            stretches.append(replace(stretch, log_mel=stretch.log_mel[:0]))  # hours of sound need not stay in memory
    rate = front_end.sample_rate
    earlier = {
        one.name: speech_interval(one.waveform, rate)[1] - speech_interval(one.waveform, rate, STRICT_DB)[1]
        for one in said
    }
    return Windows(front_end, [spec.classes.index(word) for word in words], probabilities, stretches, earlier)


def rows_of(case: str, validation: Windows, test: Windows) -> Iterator[dict[str, Any]]:
    """A row of the table for each rate and rule."""
    timing = Timing.of(test.front_end.clip_samples, test.front_end.hop_length)
    rules = {BEFORE: (before(validation), before(test)), NOW: (validation.heard(timing), test.heard(timing))}
    for allowed in RATES:
        judged: dict[str, StreamOutcome] = {}
        for rule, (chooses, judges) in rules.items():
            threshold = chooses.threshold(allowed)
            chosen_on, judged[rule] = chooses.at(threshold), judges.at(threshold)
            outcome, alarms = judged[rule], judged[rule].alarms()
            row = {"case": case, "allowed": allowed, "rule": rule, "threshold": threshold}
            row |= {"hours": outcome.hours, "words": len(outcome.missed), "validation_missed": chosen_on.missed.mean()}
            row["validation_false_alarms_an_hour"] = len(chosen_on.alarms()) / chosen_on.hours
            row |= metrics.share_figures("missed", outcome.missed, outcome.speakers, outcome.clips)
            row["false_alarms_an_hour"] = len(alarms) / outcome.hours
            row |= metrics.rate_interval(alarms, outcome.hours).figures("false_alarms_an_hour")
            if rule == NOW:
                row |= more_missed(judged) | {"before_missed_at_same": missed_at(rules[BEFORE][1], len(alarms))}
            strict = replace(outcome, delays=outcome.delays + [test.earlier[clip] for clip in outcome.clips])
            yield rounded(row | delay_figures("", outcome) | delay_figures(STRICT, strict))


def more_missed(judged: dict[str, StreamOutcome]) -> dict[str, float]:
    """By how much more words the rule of now misses than the one of before, and the interval of the difference."""
    old, new = judged[BEFORE], judged[NOW]
    difference = metrics.accuracy_difference(old.missed, new.missed, new.speakers, new.clips)
    return {"more_missed": difference.accuracy, **difference.interval.figures("more_missed")}


def missed_at(heard: HeardStream, alarms: int) -> float:
    """The share of the words that are missed with so many false alarms, on a line between two thresholds."""
    curve: list[tuple[int, float]] = []  # false alarms and missed words, from the highest threshold on
    for threshold in reversed(THRESHOLDS):
        outcome = heard.at(threshold)
        curve.append((len(outcome.alarms()), float(outcome.missed.mean())))
        if curve[-1][0] > alarms:
            break
    numbers, missed = zip(*curve, strict=True)
    return float(np.interp(alarms, np.maximum.accumulate(numbers), missed))


def sweep_rows(case: str, validation: Windows) -> Iterator[dict[str, Any]]:
    """What other constants of the rule give on validation, one changed at a time: missed words, and the delay."""
    chosen = Timing.of(validation.front_end.clip_samples, validation.front_end.hop_length)
    step = chosen.step_samples / validation.front_end.sample_rate
    pauses = [math.ceil(clips * validation.front_end.clip_samples / chosen.step_samples) for clips in APART_CLIPS]
    for held, apart in [*((held, chosen.apart) for held in HELD), *((chosen.held, apart) for apart in pauses)]:
        heard = validation.heard(replace(chosen, held=held, apart=apart))
        for allowed in RATES:
            outcome = heard.at(heard.threshold(allowed))
            row = {"case": case, "held": held, "held_seconds": (held - 1) * step, "apart": apart}
            row |= {"apart_seconds": apart * step, "allowed": allowed, "missed": outcome.missed.mean()}
            yield rounded(row | {"false_alarms_an_hour": len(outcome.alarms()) / outcome.hours} | delays(outcome))


def delays(outcome: StreamOutcome) -> dict[str, float]:
    """Median and 95th percentile of the delay of words that are heard, in seconds; nothing if none is."""
    told = outcome.delays[~outcome.missed]
    return dict(zip(DELAYS, np.quantile(told, (0.5, 0.95)), strict=True)) if len(told) else {}


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """With floats of six decimals."""
    return {name: round(float(value), 6) if isinstance(value, float) else value for name, value in row.items()}


def main() -> None:
    """Measures every case, or the chosen one; rows of others stay in the tables."""
    options = parser(__doc__)
    options.add_argument("--case", choices=CASES, help="only this case")
    asked = options.parse_args()
    for case in CASES:
        if asked.case in (None, case):
            changes = {**cases(asked.mirror, Path())[case], "seed": SEED}
            with downloaded(changes) as project:
                run(project, changes, asked.networks, evaluated=False)
                measure(case, project, changes["words"])


def measure(case: str, project: Path, words: Sequence[str]) -> None:
    """Writes the rows of a case, from its trained network."""
    validation, test = (windows_of(project, split, words) for split in ("validation", "test"))
    for row in rows_of(case, validation, test):
        add_row(TABLE, row, COLUMNS, KEY)
    for row in sweep_rows(case, validation):
        add_row(SWEEP, row, SWEEP_COLUMNS, SWEEP_KEY)


if __name__ == "__main__":
    main()
