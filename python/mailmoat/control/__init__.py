"""The socket by which commands speak to a running server: one in the directory of each partition, served by its worker."""
