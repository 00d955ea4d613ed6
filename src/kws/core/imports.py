"""Imports a library without modules that it would load and that kws does not use."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def modules_replaced(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Makes `import` find these modules inside the block. None makes the import of that module fail."""
    originals = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)  # type: ignore[arg-type]  # the import system takes None for "not to be found"
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(originals)
