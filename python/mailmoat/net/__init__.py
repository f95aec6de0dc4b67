"""Addresses and what comes before SMTP on a connection."""
