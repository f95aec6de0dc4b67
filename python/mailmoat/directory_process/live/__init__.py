"""Live sources, as the directory process asks them on behalf of all workers."""
