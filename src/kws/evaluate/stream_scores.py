"""The figures of the stream: thresholds chosen on validation, what test says of them, and the lines printed of it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kws.core.naming import UNKNOWN
from kws.evaluate import metrics
from kws.evaluate.stream import THRESHOLDS, HeardStream, StreamOutcome
from kws.recordings.clips import UNHEARD
from kws.recordings.unheard import Origin
from kws.spotting.detect import SENSITIVITIES, one_threshold

KINDS = {"speech": "at other speech", "background": "in background", "word": "beside a word"}  # of false alarms
_ORIGINS = {"dataset": "the data set's", "test_dataset": "the test data set's", "computed": "computed"}
DET_ALARMS = 500  # false alarms, at most, that the curve goes to
DET_COLUMNS = (
    *("false_alarms_an_hour", "missed", "threshold"),
    *(f"{kind}_false_alarms_an_hour" for kind in KINDS),
)
MANY_MISSED = 0.5  # share of the words from which the stage says what would help
HIGHEST = 20  # false alarms, at least: those of the highest threshold that has so many
WITHIN_MS = (300, 500)  # after the end of a word: how many words are told by then
ENOUGH = 3  # false alarms that the wanted rate must allow: of none seen, up to three are likely


def score_stream(validation: HeardStream, test: HeardStream, false_alarms_an_hour: float) -> dict[str, float]:
    """The figures of `metrics/evaluate.json`, rounded to 6 decimals.

    The thresholds are those of SENSITIVITIES, each the lowest that keeps its rate of false alarms in the validation
    stream. A sensitivity is `..._too_short` if its rate allows fewer than ENOUGH false alarms there. The figures
    `stream_...` are the test stream's at the one of `balanced`. `stream_carries_over` is 1 if the two streams' rates of
    false alarms at this threshold differ by no more than chance; it is left out where the streams are too short.

    Args:
        validation: chooses the thresholds.
        test: is judged by them.
        false_alarms_an_hour: wanted.
    """
    threshold = validation.threshold(false_alarms_an_hour)
    chosen_on, judged = validation.at(threshold), test.at(threshold)
    figures: dict[str, float] = {"stream_hours": judged.hours, "stream_words": len(judged.missed)}
    figures |= {"stream_threshold": threshold, **missed_figures("stream_missed", judged)}
    if len(judged.missed):
        figures |= metrics.share_figures("stream_wrong", judged.taken_for_another, judged.speakers, judged.clips)
    figures |= delay_figures("stream_", judged)
    figures |= false_alarm_figures("stream_false_alarms_an_hour", judged)
    figures |= _more_false_alarms("stream_more_false_alarms_an_hour", chosen_on, judged)
    if validation.hours * false_alarms_an_hour >= ENOUGH:
        low, high = (figures[f"stream_more_false_alarms_an_hour_{end}"] for end in ("low", "high"))
        figures["stream_carries_over"] = int(low <= 0 <= high)
    highest = _highest_alarms(validation)
    if len(highest):
        figures["stream_highest_at_speech"] = np.mean(highest == "speech")
    for kind in KINDS:
        figures |= false_alarm_figures(f"stream_{kind}_false_alarms_an_hour", judged, kind)
    for name, factor in SENSITIVITIES.items():
        rate = factor * false_alarms_an_hour
        threshold = validation.threshold(rate)
        figures |= {f"{name}_threshold": threshold, f"{name}_allowed_false_alarms_an_hour": rate}
        if validation.hours * rate < ENOUGH:
            figures[f"{name}_too_short"] = 1
        outcomes = {"validation": validation.at(threshold), "test": test.at(threshold)}
        if len(outcomes["validation"].alarms()) > validation.allowed(rate):
            figures[f"{name}_rate_not_kept"] = 1  # by no threshold: more false alarms have a score of 1
        for split, outcome in outcomes.items():
            figures |= missed_figures(f"{name}_{split}_missed", outcome)
            figures |= false_alarm_figures(f"{name}_{split}_false_alarms_an_hour", outcome)
    return metrics.rounded(figures)


def _highest_alarms(heard: HeardStream) -> np.ndarray:
    """The kinds of the false alarms at the highest threshold that has HIGHEST of them, else of the lowest one."""
    for threshold in reversed(THRESHOLDS):
        kinds = heard.at(threshold).kinds
        if len(kinds) >= HIGHEST:
            break
    return kinds


def missed_figures(name: str, outcome: StreamOutcome) -> dict[str, float]:
    """The share of the words that are missed, and its interval; nothing of a stream without words."""
    if not len(outcome.missed):
        return {}
    return metrics.share_figures(name, outcome.missed, outcome.speakers, outcome.clips)


def delay_figures(prefix: str, outcome: StreamOutcome) -> dict[str, float]:
    """How long after their end words are told; nothing of a stream without words.

    `delay_seconds` and `delay_95_seconds` are the median and the 95th percentile of the words that are heard. They fall
    if the slow ones are missed. `within_<limit>_ms` cannot: it is the share of all words, of which a missed one is told
    never. It has an interval.

    Args:
        prefix: of the figures' names.
        outcome: of a stream.
    """
    if not len(outcome.missed):
        return {}
    figures: dict[str, float] = {}
    heard = outcome.delays[~outcome.missed]
    if len(heard):
        median, most = np.quantile(heard, (0.5, 0.95))
        figures = {f"{prefix}delay_seconds": median, f"{prefix}delay_95_seconds": most}
    for limit in WITHIN_MS:
        within = outcome.delays <= limit / 1000  # not a number: missed
        figures |= metrics.share_figures(f"{prefix}within_{limit}_ms", within, outcome.speakers, outcome.clips)
    return figures


def false_alarm_figures(name: str, outcome: StreamOutcome, kind: str | None = None) -> dict[str, float]:
    """False alarms an hour, and their interval; of one kind, if it is given."""
    alarms = outcome.alarms(kind)
    return {name: len(alarms) / outcome.hours, **metrics.rate_interval(alarms, outcome.hours).figures(name)}


def _more_false_alarms(name: str, validation: StreamOutcome, test: StreamOutcome) -> dict[str, float]:
    """By how much the rate is higher in the test stream, and the interval of the difference, from those of both rates.

    The interval is by square-and-add (Zou and Donner, 2008), which takes the two streams as independent.
    """
    before, after = (len(one.alarms()) / one.hours for one in (validation, test))
    of_validation, of_test = (metrics.rate_interval(one.alarms(), one.hours) for one in (validation, test))
    more = after - before
    low = more - math.hypot(after - of_test.low, of_validation.high - before)
    high = more + math.hypot(of_test.high - after, before - of_validation.low)
    return {name: more, **metrics.Interval(low, high).figures(name)}


def stream_lines(scores: dict[str, float], classes: Sequence[str]) -> list[str]:
    """What the stage prints of the stream, a line each: the figures, what the thresholds are worth, what to try."""
    hours, rate = scores["stream_hours"], scores["balanced_allowed_false_alarms_an_hour"]
    kinds = ", ".join(f"{scores[f'stream_{kind}_false_alarms_an_hour']:.1f} {where}" for kind, where in KINDS.items())
    missed = "no word was said: too short"
    if scores["stream_words"]:
        low, high = scores["stream_missed_low"], scores["stream_missed_high"]
        missed = f"missed words {scores['stream_missed']:.1%}, 95 % interval {low:.1%} to {high:.1%}"
    alarms = scores["stream_false_alarms_an_hour"]
    low, high = (scores[f"stream_false_alarms_an_hour_{end}"] for end in ("low", "high"))
    lines = [
        (
            f"in a stream of {hours:.1f} h: {alarms:.1f} false alarms an hour, 95 % interval {low:.1f} to {high:.1f} "
            f"({kinds}), {missed}"
        )
    ]
    if "stream_delay_seconds" in scores:
        within = ", ".join(
            f"{scores[f'stream_within_{limit}_ms']:.1%} within {limit / 1000:g} s of their end" for limit in WITHIN_MS
        )
        lines.append(
            f"of all words are told: {within}; of the words that are heard, the median is told "
            f"{scores['stream_delay_seconds']:.2f} s after its end, and 95 % within "
            f"{scores['stream_delay_95_seconds']:.2f} s"
        )
    short = [name for name in SENSITIVITIES if f"{name}_too_short" in scores]
    if short:
        most = metrics.rate_interval(np.array([], str), hours).high
        rates = {name: scores[f"{name}_allowed_false_alarms_an_hour"] for name in short}
        needed = ", ".join(f"{each:g} ({name}) {math.ceil(60 * ENOUGH / each)}" for name, each in rates.items())
        lines.append(
            f"short: no false alarm in {hours:.1f} h means 0 to {most:.1f} an hour; stream_minutes that would tell a "
            f"rate: {needed}"
        )
    same = one_threshold({name: scores[f"{name}_threshold"] for name in SENSITIVITIES})
    if same:
        lines.append(same)
    if "balanced_rate_not_kept" in scores:
        lines.append(
            f"no threshold keeps {rate:g} false alarms an hour in the validation stream: at the highest, 1, there are "
            f"{scores['balanced_validation_false_alarms_an_hour']:.1f}"
        )
    elif scores.get("stream_carries_over") == 0:
        before = scores["balanced_validation_false_alarms_an_hour"]
        low, high = (scores[f"stream_more_false_alarms_an_hour_{end}"] for end in ("low", "high"))
        lines.append(
            f"the threshold does not carry over: {before:.1f} false alarms an hour in the validation stream, "
            f"{alarms:.1f} in the test stream, 95 % interval of the difference {low:.1f} to {high:.1f}"
        )
    if scores.get("stream_missed") == 1:
        lines.append(f"at {scores['stream_threshold']:g}, the threshold of this rate, no word is detected")
    at_speech = scores.get("stream_highest_at_speech", 0) > 1 / 2
    if scores.get("stream_missed", 0) > MANY_MISSED and at_speech and UNKNOWN not in classes:
        lines.append(
            "the network takes other words for yours, since training held none: unknown above 0 teaches it to reject "
            "them, as in preset balanced"
        )
    return lines


def with_other_speech(
    figures: Mapping[str, float], test: StreamOutcome, origins: Mapping[str, Origin], leaking: float
) -> dict[str, float]:
    """The figures of `score_stream`, and those of the other speech.

    `stream_carries_over` is left out where a computer speaks the other words in one of the two streams alone: the
    rates of false alarms then differ by kind of speech.

    Args:
        figures: of `score_stream`.
        test: what becomes of the test stream at `stream_threshold`.
        origins: where the other words of the streams come from, by `UNHEARD`.
        leaking: share of their clips that people who are in training say.
    """
    name = "stream_false_alarms_an_hour_of_speech"
    more: dict[str, float] = {"stream_speech_hours": test.speech_hours}
    if test.speech_hours:
        alarms = test.alarms("speech")
        more |= {name: len(alarms) / test.speech_hours}
        more |= metrics.rate_interval(alarms, test.speech_hours).figures(name)
    if leaking:
        more["unheard_leaking"] = leaking
    kept = {key: value for key, value in figures.items() if key != "stream_carries_over" or _of_one_kind(origins)}
    return kept | {key: round(float(value), 6) for key, value in more.items()}


def other_speech_lines(figures: Mapping[str, float], origins: Mapping[str, Origin]) -> list[str]:
    """What the stage prints of the other speech: the figures of `with_other_speech`, and what they are not worth."""
    lines = []
    name = "stream_false_alarms_an_hour_of_speech"
    if name in figures:
        low, high = (figures[f"{name}_{end}"] for end in ("low", "high"))
        lines.append(
            f"{60 * figures['stream_speech_hours']:.1f} minutes of the stream are other speech: "
            f"{figures[name]:.1f} false alarms per hour of it, 95 % interval {low:.1f} to {high:.1f}"
        )
    if "unheard_leaking" in figures:
        lines.append(
            f"{figures['unheard_leaking']:.1%} of the clips of other words are said by people who are in training: "
            "false alarms at other speech may be too few"
        )
    if not _of_one_kind(origins):
        said = {split: _ORIGINS[origins[name]] for split, name in UNHEARD.items()}
        lines.append(
            f"other speech is {said['validation']} in the validation stream, and {said['test']} in the test stream: "
            "whether the threshold carries over cannot be judged"
        )
    return lines


def _of_one_kind(origins: Mapping[str, Origin]) -> bool:
    """Whether a computer speaks the other words of both streams, or of none."""
    return len({origins[name] == "computed" for name in UNHEARD.values()}) == 1


def det_rows(heard: HeardStream) -> list[dict[str, Any]]:
    """Missed words against false alarms an hour, a row for each of THRESHOLDS from the highest on; none without words.

    They end where there are more than DET_ALARMS false alarms, and with the fewest missed words: scores hardly fall
    below lower thresholds, so that words are missed again.
    """
    rows = []
    for threshold in reversed(THRESHOLDS):
        outcome = heard.at(threshold)
        if not len(outcome.missed) or len(outcome.alarms()) > DET_ALARMS:
            break
        rates = {"": len(outcome.alarms())} | {f"{kind}_": len(outcome.alarms(kind)) for kind in KINDS}
        rows.append(
            {"missed": round(float(outcome.missed.mean()), 6), "threshold": threshold}
            | {f"{kind}false_alarms_an_hour": round(number / outcome.hours, 6) for kind, number in rates.items()}
        )
    fewest = min(range(len(rows)), key=lambda place: (rows[place]["missed"], -place), default=-1)
    return rows[: fewest + 1]
