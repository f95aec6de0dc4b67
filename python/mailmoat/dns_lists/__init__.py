"""Block and allow lists in the DNS: what they are asked, what their answers mean, and which of them can be relied on (RFC 5782)."""
