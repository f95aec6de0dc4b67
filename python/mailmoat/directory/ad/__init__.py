"""Active Directory as a source of recipients, with or without Exchange."""
