"""Read the images of a request."""
