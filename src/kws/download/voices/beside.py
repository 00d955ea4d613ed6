"""Computed voices that speak beside people: which words they say, for which splits, and what is printed of that."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from kws.core.errors import UserError
from kws.core.naming import UNKNOWN, first_names
from kws.core.params import Params
from kws.download.voices.near_words import near_words, without_same_sounds
from kws.download.voices.other_words import UNHEARD, everyday_words, other_words
from kws.download.voices.synthetic import Others
from kws.recordings.clips import SPLITS, Clip

_NAMED = 10  # words in a line


def words_beside(recordings: Iterable[Clip], tests: Iterable[Clip], params: Params) -> dict[str, list[str]]:
    """The words that the voices say, by their split: all for training, else those that nobody recorded.

    Args:
        recordings: of the data set.
        tests: of the test data set, if there is one: it is the whole test.
        params: of the experiment.
    """
    recorded = {clip.word for clip in recordings if not clip.heard}  # what was heard is for training alone
    heard = {"train": set[str](), "validation": recorded, "test": recorded}
    if params.test_dataset:
        heard["test"] = {clip.word for clip in tests if not clip.heard}
    return {split: [word for word in params.words if word not in heard[split]] for split in SPLITS}


def others_beside(recordings: Iterable[Clip], tests: Iterable[Clip], params: Params, accents: Sequence[str]) -> Others:
    """The words that the voices say for `_unknown_`; none if it is off, or if the language is not English.

    None of them sounds like a word that is chosen, or like one of the data sets' or of those for the streams:
    training may be to hear none of these.

    Args:
        recordings: of the data set.
        tests: of the test data set, if there is one.
        params: of the experiment.
        accents: the voices of eSpeak NG, the first one for the distances.

    Raises:
        UserError: the data set has no other words, and the voices have none in this language.
    """
    if not params.unknown:
        return Others((), (), 0)
    if params.language.partition("-")[0] != "en":
        if any(
            clip.word == UNKNOWN or (not clip.word.startswith("_") and clip.word not in params.words)
            for clip in recordings
        ):
            return Others((), (), 0)
        raise UserError(
            f"unknown: computed voices say other words in English only, not in {params.language}, and the data set has "
            "none; add a folder of recordings for each of some, or set it to 0"
        )
    spoken = {clip.spoken for clip in itertools.chain(recordings, tests) if not clip.spoken.startswith("_")}
    apart = list(dict.fromkeys([*params.words, *sorted(spoken), *UNHEARD]))
    near = near_words(params.words, everyday_words(apart), accents[0])
    near = without_same_sounds(near, apart, accents)
    far = without_same_sounds(other_words(apart), [*apart, *near], accents)
    return Others(near, far, math.ceil(params.unknown))


def lines(words_of: Mapping[str, Sequence[str]], clips: Sequence[Clip], others: Others, params: Params) -> list[str]:
    """What the stage prints.

    Args:
        words_of: by `words_beside`.
        clips: that the voices made.
        others: by `others_beside`.
        params: of the experiment.
    """
    said = [f"{params.computed_voices} computed voices say {_words(words_of['train'])} for training"]
    for split in ("validation", "test"):
        if words_of[split]:
            speakers = len({clip.speaker for clip in clips if clip.split == split})
            said.append(
                f"{split} has no recordings of {_words(words_of[split])}: {speakers} other computed voices say them, "
                "so that figures of these words are not those of people"
            )
    if others.each:
        said.append(
            f"the computed voices also say other words for {UNKNOWN}, {others.each} each: of {len(others.near)} that "
            f"sound near to yours ({first_names(others.near, _NAMED)}), and of {len(others.far)} others"
        )
    elif params.unknown:
        said.append(
            f"the computed voices say no other words for {UNKNOWN}, since they know such words in English only: "
            "a network may then take every computed voice for one of your words"
        )
    return said


def _words(words: Sequence[str]) -> str:
    return f"{len(words):,} words ({first_names(words)})" if len(words) > 1 else f"{words[0]!r}"
