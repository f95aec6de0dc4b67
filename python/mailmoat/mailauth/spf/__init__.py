"""SPF: the record of a domain and the check of a host against it (RFC 7208)."""
