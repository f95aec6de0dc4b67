"""LDAP servers as a source of recipients: a client of its own on the loop, sans-IO below it, and what is read with it."""
