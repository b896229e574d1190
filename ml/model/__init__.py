"""Build network architectures."""
