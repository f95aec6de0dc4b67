"""A flood of forged messages whose recipients the next hop refuses: `python -m loadtest.ndr_flood`."""
