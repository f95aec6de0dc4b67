"""The same work given to mailmoat and to the servers people use today, in interleaved rounds of one run: `python -m loadtest.compare`."""
