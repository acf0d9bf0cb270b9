"""What every process of a run does first: logging, signals, and ending with its parent."""

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1

stop = threading.Event()
"""Set when this process is asked to end."""


def start_process(name: str) -> None:
    """Set up logging to standard error, and the signals that ask the process to end."""
    logging.basicConfig(
        level=os.environ.get("USTHAND_LOG", "INFO"),
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())


@contextlib.contextmanager
def child_process(name: str, parent_pid: int, folder: Path) -> Iterator[None]:
    """A process of a run: asked to end when its parent ends, however that happens; orphans remove the run's folder."""
    start_process(name)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        stop.set()
    try:
        yield
    finally:
        if os.getppid() != parent_pid:
            shutil.rmtree(folder, ignore_errors=True)
