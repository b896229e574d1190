"""Change requests before the routes see them, and answers after them."""
