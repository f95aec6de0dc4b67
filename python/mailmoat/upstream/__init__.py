"""For clients of servers that may be slow or away: one query for equal questions, a cache, circuit breakers."""
