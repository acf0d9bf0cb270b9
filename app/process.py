"""What every process of a run does first: logging, signals, and ending with its parent."""

import ctypes
import logging
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1

stop = threading.Event()
"""Set when this process is asked to end."""


def start_process(name: str, parent_pid: int | None = None) -> None:
    """Set up logging to standard error and the stop signals; with a parent, end when it ends, however it ends."""
    logging.basicConfig(
        level=os.environ.get("USTHAND_LOG", "INFO"),
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    if parent_pid is not None:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent_pid:
            stop.set()


def is_orphan(parent_pid: int) -> bool:
    return os.getppid() != parent_pid
