"""Lists of names in a line of text."""

from collections.abc import Sequence

SHOWN = 3


def first_names(names: Sequence[str], shown: int = SHOWN) -> str:
    """The first names, and how many more there are: `a, b, c and 7 more`."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
