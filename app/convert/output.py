"""Files written whole or not at all, by libraries that take a path."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from calibration.errors import is_full, write_error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path beside `path`, with its ending in small letters, that becomes `path` if all goes well, and else is
    removed. A link stays one: the file that it leads to is written.

    Raises WriteError where the disk is full, and UserError where the file cannot be written for another reason.
    """
    place = path.resolve()
    temporary = place.with_name(f".{os.getpid()}.{place.name.lower()}")
    try:
        yield temporary
        os.replace(temporary, place)
    except (OSError, RuntimeError) as error:
        room = "Make room, or give" if is_full(error) else "Give"
        text = f"{path}: the file could not be written ({_reason(error)}). {room} another path."
        raise write_error(text, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _reason(error: OSError | RuntimeError) -> str:
    """In one line. Libraries in C++ tell of a full disk as a RuntimeError, OpenUSD in a line for each write that
    failed, `Error in FUNCTION at line N in file FILE : 'REASON'`."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first.rpartition(" : ")[2].strip("'") if first.startswith("Error in ") else first
