"""Callout: the next hop is asked whether a recipient exists, by MAIL, RCPT and RSET."""
