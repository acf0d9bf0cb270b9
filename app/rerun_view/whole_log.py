"""Whether Rerun has written all of a file: on a full disk it goes on without, and raises nothing."""

import errno
import os
from pathlib import Path

_FOOTER, _TAIL_BYTES = b"RRF2FOOT", 32


def check_whole(path: Path) -> None:
    """Raises OSError where the end of a file of Rerun's is missing."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        if _FOOTER not in file.read():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
