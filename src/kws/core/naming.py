"""Names: those of folders with a meaning of their own, lists of them in a line of text, and those of files."""

import re
from collections import defaultdict
from collections.abc import Iterable

SHOWN = 3
UNKNOWN, SILENCE = "_unknown_", "_silence_"  # classes for other words and for no word, named as in Speech Commands
BACKGROUND = "_background_noise_"
HEARD = "heard-"  # begins the folder, in place of a speaker's, of clips that `kws listen --keep` has heard


def first_names(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first names, and how many more there are: `a, b, c and 7 more`."""
    names = list(names)
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def by_kind(remarked: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each kind of remark: how many, and the first names.

    Args:
        remarked: names, and a remark each; its kind is the part before a colon.
    """
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for name, remark in remarked:
        kinds[remark.partition(": ")[0]].append(name)
    return [f"{kind}: {len(names)} ({first_names(names)})" for kind, names in sorted(kinds.items())]


def file_name(word: str) -> str:
    """A name for the files of a word that every file system, address and program takes: `hey_you`, `gru00fcn`.

    Letters a to z, digits, hyphens and underscores stay; a space becomes `_`, any other character `u` and its number
    in Unicode, four hexadecimal digits or more.
    """
    return re.sub(r"[^\w-]", lambda sign: f"u{ord(sign[0]):04x}", word.replace(" ", "_"), flags=re.ASCII)
