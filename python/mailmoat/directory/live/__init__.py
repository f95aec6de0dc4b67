"""Live lookups as a worker makes them: it asks the directory process about one address at a time."""
