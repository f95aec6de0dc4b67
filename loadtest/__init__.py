"""Load test, comparison with other servers, micro-benchmarks: programs of their own that only ask what mailmoat shows the world.

Nothing in the product imports this. Traffic goes to 127.0.0.0/8 alone; every count and time is bounded; what was started is
ended by its pid.
"""
