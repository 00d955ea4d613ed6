"""Words that computed voices say beside the chosen ones: for class `_unknown_`, and for speech that is never heard."""

import re
from collections.abc import Iterable

# Everyday words with many different sounds at their start, in their middle and at their end. None sounds like another
# word that is written differently, so that a chosen word is not among them under another spelling.
ENGLISH = (  # noqa: SIM905 (reads better)
    "afternoon airplane apple balloon banana breakfast butterfly chicken children cousin dancing dinosaur doctor "
    "eleven engine finger friendship garden giraffe guitar happy hospital island jacket kitchen language machine "
    "mountain orange paper pocket question rabbit shoulder summer telephone umbrella village window yesterday"
).split()
# Likewise. `_unknown_` is never made of these, so that training does not hear them.
UNHEARD = (  # noqa: SIM905 (as above)
    "address blanket bottle bridge camera candle carpet corner cotton dollar elephant evening family forest furniture "
    "hammer holiday information ladder lemon magazine medicine minute monkey number office pencil pepper picture "
    "pillow radio river sandwich silver sister teacher together tomorrow towel vegetable"
).split()


def other_words(words: Iterable[str]) -> list[str]:
    """Other words for English voices, to make `_unknown_` of: not the given words, nor the words they are made of."""
    return _without(words, ENGLISH)


def unheard_words(words: Iterable[str]) -> list[str]:
    """Other words for English voices, which training does not hear if it hears the given words and `other_words`."""
    return _without(words, UNHEARD)


def _without(words: Iterable[str], others: Iterable[str]) -> list[str]:
    known = {part for word in words for part in re.split(r"[\W_]+", word.casefold())}
    return [word for word in others if word not in known]
