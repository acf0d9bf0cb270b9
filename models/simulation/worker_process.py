"""How a rendering process of a pool begins: one core is its own, and it ends with the process that started it."""

import os

import cv2

from calibration.programs import join_pool


def begin() -> None:
    """The initialiser of a pool's processes, which must have been spawned."""
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    join_pool()
