"""Who exists at the local domains."""
