"""The allow and block lists of the connection filter: which clients are refused, and which no filter judges."""
