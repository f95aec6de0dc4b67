"""What those have in common who query a server that may be slow or away: one query for equal questions, a cache, circuit breakers."""
