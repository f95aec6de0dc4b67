"""Which recipients exist at the local domains."""
