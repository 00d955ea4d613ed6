"""Items that are read one at a time, since all of them at once might not fit into the memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Repeatable(Generic[Item]):
    """Items that can be read many times, and are made anew each time.

    Args:
        make: gives all of them, from the first one on.
    """

    def __init__(self, make: Callable[[], Iterable[Item]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Item]:
        return iter(self._make())
