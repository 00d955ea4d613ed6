"""A sweep: many trials of an experiment with other parameters, by workers that share a study."""
