"""What can go wrong through no fault of this code."""


class UserError(Exception):
    """The message is one sentence for the person at the keyboard: what is wrong, with what, and what to do."""
