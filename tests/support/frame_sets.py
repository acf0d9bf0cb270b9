"""Frame sets whose pictures nobody looks at."""

from collections.abc import Sequence

import numpy as np

from calibration.frames import Frame, FrameSet

PIXELS = np.zeros((2, 2, 3), np.uint8)


def set_at(index: int, time_ns: int, camera_ids: Sequence[str]) -> FrameSet:
    """A set of frames that all were taken at one time."""
    frames = {
        name: Frame(
            camera_id=name,
            sequence=index,
            capture_time_ns=time_ns,
            grab_time_ns=time_ns,
            publish_time_ns=time_ns,
            pixels=PIXELS,
        )
        for name in camera_ids
    }
    return FrameSet(index, time_ns, frames, 0)
