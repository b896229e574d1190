"""Build networks."""
