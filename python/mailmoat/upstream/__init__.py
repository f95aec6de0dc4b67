"""For clients of servers that may be slow or away: one query for equal ones, a cache, circuit breakers."""
