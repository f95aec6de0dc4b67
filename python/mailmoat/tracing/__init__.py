"""What the log and the queue say about one message, one session or one address."""
