"""MLflow: the run of an experiment, and the registry of models."""
