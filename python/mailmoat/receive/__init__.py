"""Receiving: from octets of a peer to a message in the spool."""
