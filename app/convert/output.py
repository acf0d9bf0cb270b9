"""Files written whole or not at all, by libraries that take a path."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from calibration.errors import WriteError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path beside `path`, with its ending, that becomes `path` if all goes well, and else is removed.

    Raises WriteError where the file cannot be written, as on a full disk.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        reason = _reason(error)
        raise WriteError(
            f"{path}: the file could not be written ({reason}). Is the disk full? Make room, or give another path."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: OSError | RuntimeError) -> str:
    """In one line. Libraries in C++ tell of a full disk as a RuntimeError, OpenUSD in a line for each write that
    failed, `Error in FUNCTION at line N in file FILE : 'REASON'`."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first.rpartition(" : ")[2].strip("'") if first.startswith("Error in ") else first
