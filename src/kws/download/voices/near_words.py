"""Words that sound near to the chosen ones: those that a network takes for them most easily."""

import itertools
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from kws.download.voices import espeak, pronunciation

NEAR_EACH = 10  # words for each chosen one
_CLASS_COST = 0.5  # of a sound in place of another of its class; of any other, added or left out: 1

# Manners of articulation, as the chart of the International Phonetic Association (2020) orders sounds, by the first
# sign of eSpeak NG's names of English sounds. What is none of these is a vowel.
_CLASSES = ("pbtdkg?", "fvTDszSZhCx", "mnN", "lrwj")


def near_words(words: Sequence[str], candidates: Sequence[str], accent: str) -> list[str]:
    """The candidates that sound nearest to the words, the nearest of each word first.

    The distance is the fewest sounds that are added, left out or replaced (Levenshtein, 1966), divided by the number of
    sounds of the longer word. A sound counts half if it is replaced by one of its class.

    Args:
        words: the chosen ones.
        candidates: other words.
        accent: a voice of eSpeak NG.
    """
    texts = [pronunciation.text_of(word) for word in [*words, *candidates]]
    sounds = espeak.phonemes([(text, accent) for text in texts])
    ours, theirs = sounds[: len(words)], sounds[len(words) :]
    orders = [np.argsort(distances(one, theirs), kind="stable")[:NEAR_EACH] for one in ours]
    return list(dict.fromkeys(candidates[place] for places in zip(*orders, strict=True) for place in places))


def distances(one: Sequence[str], others: Sequence[Sequence[str]]) -> np.ndarray:
    """The distance of a word to each of the others, as lists of sounds: float64 (others,), 0 to 1."""
    numbers: dict[str, int] = {}
    lengths = np.array([len(other) for other in others], int)
    shape = (len(others), max(lengths, default=0))
    theirs, their_classes = np.full(shape, -1), np.full(shape, -1)
    for row, other in enumerate(others):
        theirs[row, : len(other)] = [numbers.setdefault(sound, len(numbers)) for sound in other]
        their_classes[row, : len(other)] = [_class_of(sound) for sound in other]
    costs = np.tile(np.arange(shape[1] + 1.0), (len(others), 1))  # of the first sounds, by how many they are
    for sound in one:
        replaced = np.where(their_classes == _class_of(sound), _CLASS_COST, 1.0)
        replaced[theirs == numbers.get(sound)] = 0
        before, costs = costs, np.empty_like(costs)
        costs[:, 0] = before[:, 0] + 1
        for place in range(shape[1]):
            added = np.minimum(costs[:, place], before[:, place + 1]) + 1
            costs[:, place + 1] = np.minimum(added, before[:, place] + replaced[:, place])
    return costs[np.arange(len(others)), lengths] / np.maximum(np.maximum(lengths, len(one)), 1)


def without_same_sounds(candidates: Iterable[str], words: Collection[str], accents: Iterable[str]) -> list[str]:
    """The candidates without those that sound as one of the words in any of the accents."""
    candidates, accents = list(candidates), list(dict.fromkeys(accents))
    readings = pronunciation.bare_readings(dict.fromkeys([*candidates, *words]), accents)
    taken = {(accent, readings[word, accent]) for word, accent in itertools.product(words, accents)}
    return [word for word in candidates if not any((accent, readings[word, accent]) in taken for accent in accents)]


def _class_of(sound: str) -> int:
    return next((number for number, signs in enumerate(_CLASSES) if sound[0] in signs), len(_CLASSES))
