"""The stage train: networks, augmentation, training, and the files of a trained network."""

from kws.core.imports import modules_replaced

# Keras loads them for wrappers and pictures that nobody asks for here, in a third of the time that TensorFlow starts in
with modules_replaced(dict.fromkeys(("matplotlib", "pandas", "sklearn"))):
    import tensorflow as tf  # noqa: F401
