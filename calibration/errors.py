"""Errors that a user can mend."""


class UserError(Exception):
    """A mistake in what the user gave: a file, a flag, a device, a key.

    The message names the thing, what was got and expected, and the next action. The command line prints it on
    standard error and exits with code 2; no traceback.
    """
