"""What goes wrong through no fault of the code, said in one line."""


class UserError(Exception):
    """A problem that the user can mend; its text says what, where and what is allowed."""
