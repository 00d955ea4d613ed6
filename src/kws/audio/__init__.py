"""Sound becomes samples, samples become log-Mel spectrograms. NumPy alone; nothing of the rest of kws."""
