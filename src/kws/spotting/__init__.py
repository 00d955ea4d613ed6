"""A trained network at work: what `pip install .` brings. NumPy and LiteRT are all it needs."""
