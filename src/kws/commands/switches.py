"""Switches of make commands: `GATE=1`, `YES=1`."""

import os

from kws.core.errors import UserError


def is_on(name: str) -> bool:
    """Whether a variable of the environment is 1.

    Raises:
        UserError: it is another word, which the user may have meant as yes.
    """
    value = os.environ.get(name, "")
    if value not in ("", "0", "1"):
        raise UserError(f"{name}={value}: give {name}=1, or leave it out")
    return value == "1"
