"""Computed voices: eSpeak NG and Hibari, in computed rooms and microphones."""
