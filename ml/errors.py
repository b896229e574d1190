"""Base class of errors caused by the user's input or environment."""


class UserError(Exception):
    """The message is one sentence for the user: what is wrong, with which file or setting, and how to fix it."""
