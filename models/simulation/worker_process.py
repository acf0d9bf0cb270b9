"""How a rendering process of a pool begins: one core is its own, and it ends with the process that started it."""

import multiprocessing
import os
import signal
import threading
from multiprocessing import connection

import cv2


def begin() -> None:
    """The initialiser of a pool's processes, which must have been spawned."""
    # The terminal's interrupt reaches all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's processes do not see that their parent was killed: they would go on with what it had given them."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
