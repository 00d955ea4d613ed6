"""Cached features on disk: the format, the writer, and readers with and without TensorFlow."""
