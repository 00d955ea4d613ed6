"""Figures of several seeds together: the mean, and its interval for other people and other seeds.

Each function returns `name`, `<name>_low` and `<name>_high`. With one seed, the interval is for other people alone.
"""

from collections.abc import Sequence

import numpy as np

from kws.evaluate.answers import Answers
from kws.evaluate.metrics import Outcomes, over_seeds, rate_interval, seeds_interval
from kws.evaluate.stream import StreamOutcome


def share(name: str, seeds: Sequence[Outcomes]) -> dict[str, float]:
    """A share: recall, rejection, or accuracy in noise, say; what became of clips, one entry for each seed."""
    mean = float(np.mean([one.correct.mean() for one in seeds]))
    return {name: mean, **seeds_interval(seeds).figures(name)}


def accuracy(name: str, seeds: Sequence[Answers]) -> dict[str, float]:
    """The share of the clips that is right."""
    return share(name, [Outcomes(one.correct, one.speakers, one.names) for one in seeds])


def missed_words(name: str, seeds: Sequence[StreamOutcome]) -> dict[str, float]:
    """The share of the words in the stream that is missed; nothing, if a stream has no words.

    Args:
        name: of the figure.
        seeds: what became of the stream at the threshold of each seed, one entry for each.
    """
    if not all(len(stream.missed) for stream in seeds):
        return {}
    return share(name, [Outcomes(stream.missed, stream.speakers, stream.clips) for stream in seeds])


def false_alarms(name: str, seeds: Sequence[StreamOutcome], kind: str | None = None) -> dict[str, float]:
    """The false alarms an hour.

    A source that several seeds' networks take for a word counts once, with the mean number of their alarms. So it may
    be one stream that all of them heard, or one for each seed.

    Args:
        name: of the figure.
        seeds: as of `missed_words`.
        kind: of false alarms: `speech`, `background` or `word`; None: all.
    """
    alarms = [stream.alarms(kind) for stream in seeds]
    hours = [stream.hours for stream in seeds]
    rates = [len(sources) / length for sources, length in zip(alarms, hours, strict=True)]
    pooled = rate_interval(np.concatenate(alarms), float(np.mean(hours)), len(seeds))
    return {name: float(np.mean(rates)), **over_seeds(pooled, rates).figures(name)}
