"""The stage export: LiteRT files for devices, and the check that they answer as the network does."""
