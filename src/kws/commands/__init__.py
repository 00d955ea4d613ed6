"""The programs behind make."""
