"""The pictures, in matplotlib."""
