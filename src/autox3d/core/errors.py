"""The error for mistakes of the user."""


class Refused(ValueError):
    """A user error: one line that names the file, the problem and the fix.

    Programs print it without a traceback and exit with status 1.
    """
