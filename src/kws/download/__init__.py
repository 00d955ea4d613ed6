"""The stage download: where a data set comes from, and how it is brought here."""
