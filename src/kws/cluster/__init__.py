"""Work that is shared among processes, of this machine or of many. It changes where work is done, and no byte of it."""
