"""Hands accepted messages on: when, where to, what became of each recipient, and who is told. Knows neither policy nor server."""
