"""Where the viewer gets what it shows."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from app.transport.messages import End, PoseSet, RecordingStatus
from app.transport.ring import SlotRef


class Feed(Protocol):
    """The viewer's only input. Neither method ever blocks."""

    def poll(self) -> Sequence[PoseSet | End | RecordingStatus]:
        """What arrived since the last call, newest last."""
        ...

    def image(self, slot: SlotRef, width: int) -> np.ndarray | None:
        """A private BGR copy (height, width, 3) uint8 of the frame in `slot`, scaled to `width` at the same shape.

        Frames narrower than `width` may come as they are. None where the frame was overwritten meanwhile.
        """
        ...
