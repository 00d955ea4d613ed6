"""`kws record`: people say words, one after the other, and each take is checked before it is kept."""
