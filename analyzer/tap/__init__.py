"""A running capture: session, topology, recorders beside it, and containers that come and go."""
