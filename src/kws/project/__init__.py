"""The stage project: projections of the embedding, the explorer, the model card."""
