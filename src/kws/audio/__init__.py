"""From audio files to samples to log-Mel spectrograms. It imports nothing else of kws."""
