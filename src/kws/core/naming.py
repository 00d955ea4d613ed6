"""Names: those of folders with a meaning of their own, lists of them in a line of text, and those of files."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

SHOWN = 3
# What a word may hold beside letters, marks and digits: two kinds of apostrophe, the dots of Catalan and Japanese, the
# quotation marks of Hebrew, and the joiners of Persian and Indian scripts
_WITHIN = " -_'\u2019\u00b7\u30fb\u05f3\u05f4\u200c\u200d"
COMPUTED = "_computed_/"  # begins the names of clips of computed voices that speak beside people
UNKNOWN, SILENCE = "_unknown_", "_silence_"  # classes for other words and for no word, named as in Speech Commands
BACKGROUND = "_background_noise_"
HEARD = "heard-"  # begins the folder, right below the word, of clips that `kws listen --keep` has heard


def first_names(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first names, and how many more there are: `a, b, c and 7 more`."""
    names = list(names)
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


class Kinds:
    """Remarks by their kind, the part before a colon. It holds the first names of each alone: there may be millions."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, name: str, remark: str) -> None:
        """Counts a remark on something of this name."""
        kind = remark.partition(": ")[0]
        self._counts[kind] += 1
        if len(self._names[kind]) < SHOWN:
            self._names[kind].append(name)

    def lines(self) -> list[str]:
        """A line for each kind of remark: how many, and the first names."""
        return [f"{kind}: {count} ({self._shown(kind, count)})" for kind, count in sorted(self._counts.items())]

    def _shown(self, kind: str, count: int) -> str:
        names = self._names[kind]
        return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")


def by_kind(remarked: Iterable[tuple[str, str]]) -> list[str]:
    """The lines of `Kinds` for names and a remark each."""
    kinds = Kinds()
    for name, remark in remarked:
        kinds.add(name, remark)
    return kinds.lines()


def file_name(word: str) -> str:
    """A name for the files of a word that every file system, address and program takes: `hey_you`, `gru00fcn`.

    Letters a to z, digits, hyphens and underscores stay; a space becomes `_`, any other character `u` and its number
    in Unicode, four hexadecimal digits or more.
    """
    return re.sub(r"[^\w-]", lambda sign: f"u{ord(sign[0]):04x}", word.replace(" ", "_"), flags=re.ASCII)


def plain_name(name: str, what: str = "word") -> str:
    """The name of a word, or of who says it, in Unicode's form NFC.

    Raises:
        ValueError: it begins with no letter or digit, or holds what names may not.
    """
    if name != name.strip():
        raise ValueError(f"{name!r} has spaces around it; write {name.strip()!r}")
    kinds = {unicodedata.category(character)[0] for character in name if character not in _WITHIN}
    if not re.fullmatch(r"[^\W_](.*\S)?", name) or not kinds <= {"L", "M", "N"}:  # letters, marks on them, numbers
        raise ValueError(
            f"{name!r} is no {what}: it begins with a letter or digit, since names that begin with _ are reserved; "
            "letters, digits, spaces, hyphens, underscores and apostrophes may follow"
        )
    return unicodedata.normalize("NFC", name)


def is_computed(name: str) -> bool:
    """Whether a clip, by its name in the archive, is of a computed voice that speaks beside people."""
    return name.startswith(COMPUTED)
