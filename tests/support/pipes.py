"""A named pipe in place of a file, and the time limit that tells a reader which waits for its other end."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def plant_pipe(path: Path) -> Path:
    """Put a FIFO that nobody writes to at `path`, in place of the file there."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


@contextmanager
def does_not_wait(seconds: int = 60) -> Iterator[None]:
    """Fails where the block takes that long: an open that waits for a FIFO's other end waits for ever."""

    def late(*_: object) -> None:
        raise AssertionError("waited for a FIFO's other end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
