"""Words that computed voices say beside the chosen ones, so that there is something to make `_unknown_` of."""

import re
from collections.abc import Sequence

# Everyday words with many different sounds at their start, in their middle and at their end. None sounds like another
# word that is written differently, so that a chosen word is not among them under another spelling.
ENGLISH = (  # noqa: SIM905 (reads better)
    "afternoon airplane apple balloon banana breakfast butterfly chicken children cousin dancing dinosaur doctor "
    "eleven engine finger friendship garden giraffe guitar happy hospital island jacket kitchen language machine "
    "mountain orange paper pocket question rabbit shoulder summer telephone umbrella village window yesterday"
).split()


def other_words(words: Sequence[str]) -> list[str]:
    """Other words for English voices: the list, without the chosen words and the words they are made of."""
    chosen = {part for word in words for part in re.split(r"[\W_]+", word.casefold())}
    return [word for word in ENGLISH if word not in chosen]
