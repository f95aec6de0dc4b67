"""The records of a domain: what is published and what should be."""
