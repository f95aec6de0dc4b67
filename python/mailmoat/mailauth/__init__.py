"""Mail authentication: whether a host may send for a domain, and how the result is stamped (RFC 4406, RFC 7208, RFC 8601)."""
