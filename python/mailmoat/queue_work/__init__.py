"""What the commands do with the queue, with a server that runs and without one: select, act, export and import."""
