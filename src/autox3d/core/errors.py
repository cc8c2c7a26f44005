"""The one error that is meant for the user."""


class Refused(ValueError):
    """Something the user can mend: one line that names the file, the thing and the fix.

    Programs print it without a traceback and exit with status 1.
    """
