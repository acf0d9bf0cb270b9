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
        # Libraries in C++ tell of a full disk as a RuntimeError.
        reason = getattr(error, "strerror", None) or str(error)
        raise WriteError(
            f"{path}: the file could not be written ({reason}). Is the disk full? Make room, or give another path."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
