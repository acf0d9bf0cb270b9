"""Errors that a user can mend."""


class UserError(Exception):
    """A mistake in what the user gave: a file, a flag, a device, a key.

    The message names the thing, what was got and expected, and the next action. The command line prints it on
    standard error and exits with code 2; no traceback.
    """


class WriteError(UserError):
    """What could not be written, as on a full disk: the command line prints it likewise, and exits with code 1."""
