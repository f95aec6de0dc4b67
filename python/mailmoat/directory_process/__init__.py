"""The process that reads and asks the sources of recipients."""
