"""Reports of non-delivery (RFC 3464): whether one is sent, to whom, and with what."""
