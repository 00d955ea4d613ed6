"""What `kws listen` has kept, what people answer about it in `kws review`, and the recordings that come of it."""
