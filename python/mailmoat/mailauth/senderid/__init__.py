"""Sender ID: the identities of a message that are checked (RFC 4406, RFC 4407)."""
