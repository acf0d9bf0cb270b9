"""A frame of one camera and a set of frames of all cameras at one moment."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image of one camera, with where its time came from.

    `sequence` is the device's own counter where it has one. `capture_time_ns` is when light was recorded, on the
    rig's clock (the host's monotonic clock in live use, the recording's clock in replay), with the camera's
    `time_offset` already taken off. `grab_time_ns` and `publish_time_ns` are the worker's monotonic clock. `pixels`
    is (H, W, 3) uint8 BGR, possibly a view of shared memory that the grabber overwrites some frames later: copy what
    is needed, then ask `intact()`, and throw the copy away where it says False.
    """

    camera_id: str
    sequence: int
    capture_time_ns: int
    grab_time_ns: int
    publish_time_ns: int
    pixels: np.ndarray = field(repr=False)
    intact: Callable[[], bool] = field(default=lambda: True, repr=False)


@dataclass(frozen=True)
class FrameSet:
    """At most one frame per camera around one moment. An absent camera is absent, never replaced by an older frame.

    `reference_time_ns` is the median capture time of the frames.
    """

    index: int
    reference_time_ns: int
    frames: dict[str, Frame]
    closed_time_ns: int

    @property
    def spread_ns(self) -> int:
        """Largest difference of capture times."""
        times = [frame.capture_time_ns for frame in self.frames.values()]
        return max(times) - min(times) if times else 0

    def without(self, camera_ids: Collection[str]) -> "FrameSet":
        """The set without those cameras' frames, at the same moment."""
        return replace(self, frames={name: frame for name, frame in self.frames.items() if name not in camera_ids})
