"""The one exception whose text is meant for a user's eyes."""


class UserError(Exception):
    """Something the user can mend. Its message is one line that says what is wrong and what to do.

    Command lines print it after ``error:`` and exit with 2; the page shows it as it is.
    """
