"""The stage evaluate: what a network makes of the test clips, in quiet, in noise and in a stream."""
