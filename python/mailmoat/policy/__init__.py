"""What is decided, and nothing of how: relay, recipients, the tar pit's exemptions. Knows neither spool nor delivery nor server."""
