"""LDAP servers as a source of recipients: what is read with the client of `mailmoat.ldap`, and how it is kept up to date."""
