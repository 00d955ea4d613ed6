"""The stage train: networks, augmentation, training, and the files of a trained network."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(*modules: str) -> Iterator[None]:
    """These modules cannot be imported meanwhile, unless they are loaded already."""
    absent = [name for name in modules if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's way to say so
    yield
    for name in absent:
        del sys.modules[name]


# Keras loads them for wrappers and pictures that nobody asks for here, in a third of the time that TensorFlow starts in
with _hidden("matplotlib", "pandas", "sklearn"):
    import tensorflow as tf  # noqa: F401
