"""Know the limits of the container, and run its commands."""
