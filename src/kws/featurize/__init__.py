"""Stage featurize: class and split of each clip, and its features."""
