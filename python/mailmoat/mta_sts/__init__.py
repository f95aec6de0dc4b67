"""MTA-STS (RFC 8461): what a domain says by HTTPS about its mail servers and TLS, fetched, kept, and looked up. Knows no SMTP."""
