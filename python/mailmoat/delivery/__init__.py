"""Hands accepted messages on: when, where to, what became of each recipient, and which report follows. Knows neither policy nor receive."""
