"""Stage download: the sources of data sets, downloads, computed voices."""
