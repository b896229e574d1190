"""Compare images with the reference of a bundle."""
