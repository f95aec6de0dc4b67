"""What is remembered of the hosts that send us mail, and the judgement that follows from it."""
