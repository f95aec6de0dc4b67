"""A client of LDAP servers, on the loop and without threads: messages as values, connections, TLS, searches (RFC 4511, 4513, 4515, 2696, 4533)."""
