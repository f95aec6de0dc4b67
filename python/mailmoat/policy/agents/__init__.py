"""The agents: one rule a file."""
