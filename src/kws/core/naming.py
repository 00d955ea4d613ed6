"""Names: those of folders with a meaning of their own, lists of them in a line of text, and those of files."""

import re
import unicodedata
from collections import defaultdict
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


class Names:
    """Counts names and holds the first ones alone, since there may be millions; as text: `a, b, c and 7 more`."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.count = 0
        self.first: list[str] = []
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Counts a name."""
        self.count += 1
        if self.count <= SHOWN:
            self.first.append(name)

    def __str__(self) -> str:
        more = self.count - len(self.first)
        return ", ".join(self.first) + (f" and {more} more" if more else "")


class Kinds:
    """Remarks by their kind, the part before a colon."""

    def __init__(self) -> None:
        self._names: defaultdict[str, Names] = defaultdict(Names)

    def add(self, name: str, remark: str) -> None:
        """Counts a remark on something of this name."""
        self._names[remark.partition(": ")[0]].add(name)

    def lines(self) -> list[str]:
        """A line for each kind of remark: how many, and the first names."""
        return [f"{kind}: {names.count} ({names})" for kind, names in sorted(self._names.items())]


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
