"""The contents of a data set: its archive, its clips and their speakers, its background recordings."""
