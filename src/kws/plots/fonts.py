"""Fonts for words in any script. matplotlib's own font has the Latin, Greek, Cyrillic, Arabic and Hebrew letters."""

import sys
import unicodedata
import warnings
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

_PACKAGES = ("manimgx_fonts", "noto_cjk_sans_otc")  # Noto Sans for most scripts, and for Chinese, Japanese and Korean
_PREFERRED = ("notosans", "sans", "gothic", "hei")  # in a file's name: what goes with matplotlib's own font, best first
_SPECIAL = ("bold", "italic", "oblique", "black", "light", "thin", "mono", "serif", "lastresort")


def give_fonts(figure: Figure) -> None:
    """Gives each text of a figure fonts for those of its letters that matplotlib's own font does not have.

    Letters that no font has become boxes, and a line on stderr says so. A text that matplotlib's own font can write is
    left as it is.
    """
    own = _letters_of(font_manager.findfont("DejaVu Sans"))
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        letters = {letter for letter in text.get_text() if not letter.isascii() and _is_drawn(letter)} - own
        if letters:
            text.set_fontfamily([*text.get_fontfamily(), *_fonts_for(frozenset(letters))])


@cache
def _fonts_for(letters: frozenset[str]) -> tuple[str, ...]:
    """Names of fonts that have these letters between them, as few as possible."""
    names, missing = [], set(letters)
    for find in (_packaged, _installed):
        there = {path: letters & _letters_of(path) for path in find()} if missing else {}
        while missing and there:
            path = max(there, key=lambda path: len(there[path] & missing))
            if not there[path] & missing:
                break
            font_manager.fontManager.addfont(path)
            names.append(FT2Font(path).family_name)
            missing -= there[path]
    if missing:
        print(
            f"warning: no font has the letters {_listed(missing)}: pictures show boxes in their place. "
            "Install a font that has them, for instance of Debian's package fonts-noto-core",
            file=sys.stderr,
        )
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)  # the line has said it
    return tuple(names)


def _packaged() -> list[str]:
    """The fonts that the set-up brings, so that pictures are the same on every machine."""
    packages = [spec for spec in map(find_spec, _PACKAGES) if spec]  # an older environment does not have them
    folders = [Path(folder) for spec in packages for folder in spec.submodule_search_locations or ()]
    return sorted(str(path) for folder in folders for path in folder.glob("*.tt[cf]"))


def _installed() -> list[str]:
    """The machine's fonts. matplotlib's list in the user's home does not know those that were installed since."""
    return sorted(font_manager.findSystemFonts(), key=_rank)


def _rank(path: str) -> tuple[bool, int, str]:
    """Plain sans-serif fonts first. The path makes the order the same every time."""
    name = path.rpartition("/")[2].casefold().replace("-", "").replace("_", "")
    preferred = next((place for place, part in enumerate(_PREFERRED) if part in name), len(_PREFERRED))
    return any(part in name for part in _SPECIAL), preferred, path


@cache
def _letters_of(path: str) -> frozenset[str]:
    """The letters of a font file; none if it cannot be read."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except RuntimeError:  # FreeType's, for a damaged file, or one of a kind that it does not know
        return frozenset()


def _is_drawn(letter: str) -> bool:
    """Whether a letter has a shape: joiners and spaces have none."""
    return unicodedata.category(letter)[0] not in "CZ"


def _listed(letters: Iterable[str], most: int = 20) -> str:
    first = sorted(letters)
    return "".join(first[:most]) + (f" and {len(first) - most} more" if len(first) > most else "")
