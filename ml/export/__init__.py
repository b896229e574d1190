"""Export trained networks as bundles."""
