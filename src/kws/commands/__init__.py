"""The programs that `make` calls."""
