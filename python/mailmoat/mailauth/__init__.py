"""Mail authentication: whether a host may send in a name, and what is stamped of it (RFC 4406, RFC 7208, RFC 8601)."""
