"""Signed reverse-paths: what we send has a tag in its reverse-path, so a bounce that comes back without one is about a forged message."""
