"""Find copies of images."""
