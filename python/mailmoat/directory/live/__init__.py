"""Live lookups: workers ask the directory process about one address at a time."""
