"""Limits on what clients may take of the server together."""
