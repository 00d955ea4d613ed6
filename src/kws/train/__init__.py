"""The stage train: networks, augmentation, the training, and the file that a network is kept in."""
