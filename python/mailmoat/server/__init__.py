"""The processes and the connections: supervisor, workers, and what joins sockets to session machines."""
