"""Build networks: a pre-trained backbone, and a linear head on its features."""
