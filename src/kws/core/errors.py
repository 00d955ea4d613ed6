"""The error for problems that the user can solve."""


class UserError(Exception):
    """A problem that the user can solve. Its text, one line, says what is wrong, where, and what is allowed."""
