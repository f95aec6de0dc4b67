"""Bounces (RFC 3464): whether one is sent, to whom, and its content."""
