"""What the DNS and the web say of a domain's mail servers: hosts, addresses, TLSA records, MTA-STS policies. Knows nothing of deliveries."""
