"""Authentication of clients (RFC 4954): who a client is, by which mechanism, and which backend says so."""
