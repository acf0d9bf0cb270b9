"""Errors that a user can mend."""

import difflib
import errno
import os
import shlex
from collections.abc import Iterable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class UserError(Exception):
    """A mistake in what the user gave: a file, a flag, a device, a key.

    The message names the thing, what was got and expected, and the next action. The command line prints it on
    standard error and exits with code 2; no traceback.
    """


class WriteError(UserError):
    """What could not be written, as on a full disk: the command line prints it likewise, and exits with code 1."""


def is_full(error: Exception) -> bool:
    """Whether the disk is full, or fails: nothing that the user gave is wrong. Libraries in C++ say it in words."""
    code = error.errno if isinstance(error, OSError) else None
    return code in _FULL or any(os.strerror(each) in str(error) for each in _FULL)


def write_error(text: str, error: Exception) -> UserError:
    """Of what could not be written: a WriteError where the disk is full, else a mistake in the place that was given."""
    return (WriteError if is_full(error) else UserError)(text)


def reason_of(error: Exception) -> str:
    """What it says, of an OSError without the number and the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def did_you_mean(got: object, known: Iterable[str]) -> str:
    """Ends a sentence with a question where something known is spelled much like what was got, else nothing."""
    near = difflib.get_close_matches(str(got), sorted(known), n=1)
    return f". Did you mean `{near[0]}`?" if near else ""


def pasted(path: object) -> str:
    """A path as a shell takes it, in a command that is printed to be pasted."""
    return shlex.quote(str(path))
