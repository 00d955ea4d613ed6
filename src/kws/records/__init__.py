"""TFRecords on disk, both ways: written without TensorFlow, read with it."""
