"""Everything on this machine with one command; ``python -m scripts.up``, standard library only."""
