"""The licences of what a model is made of, and what follows from each for the model. docs/licences.md tells why."""

from collections.abc import Iterable

SPEECH_COMMANDS = "CC BY 4.0, Pete Warden, Speech Commands, arXiv:1804.03209"
ESPEAK = "none of its own: output of eSpeak NG (GPL-3.0-or-later)"
ESPEAK_AND_HIBARI = f"{ESPEAK} and Hibari (Apache-2.0)"
NOT_KNOWN = "not known"

NOT_IN_THE_MODEL = "Nothing: the model has not learnt from it."
_OTHER = "Read that licence before you pass the model on."
_OF_PROGRAMS = "As far as is known, nothing: the licence is of a program, not of what it says."
_OF_HIBARI = (
    "Hibari learnt from Kokoro, and that also from voices of closed services, whose terms nobody here has read."
)
# What a licence begins with, and what follows from it for a model; the first that fits counts.
_FOLLOWS = (
    ("CC BY 4.0", "Name the authors and the licence wherever you pass the model on: this row does."),
    (ESPEAK_AND_HIBARI, f"{_OF_PROGRAMS} {_OF_HIBARI}"),
    (ESPEAK, _OF_PROGRAMS),
    (NOT_KNOWN, "kws does not know it. Ask those who spoke and recorded before you pass the model on."),
)
_AND = "; "


def together(licences: Iterable[str]) -> str:
    """The licence of what is made of several things: each of theirs, once."""
    return _AND.join(dict.fromkeys(part for licence in licences for part in licence.split(_AND)))


def what_follows(licence: str) -> str:
    """What a licence, or several that are written `together`, mean for a model that learnt from such data."""
    return " ".join(dict.fromkeys(map(_what_follows, licence.split(_AND))))


def _what_follows(licence: str) -> str:
    return next((follows for start, follows in _FOLLOWS if licence.startswith(start)), _OTHER)
