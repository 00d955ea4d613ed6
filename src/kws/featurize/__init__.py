"""The stage featurize: which clips are used for what, and their features."""
