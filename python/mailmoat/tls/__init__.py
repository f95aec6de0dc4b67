"""TLS material: certificates and keys, how they are loaded, checked and replaced (RFC 8314, RFC 9325)."""
