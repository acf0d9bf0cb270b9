"""The feed of a run: its poses and its cameras' images."""

from collections.abc import Sequence

import cv2
import numpy as np

from app.run.settings import RunFolder
from app.transport.messages import End, PoseSet
from app.transport.ring import RingReader, SlotRef
from app.transport.sockets import Subscriber


class LiveFeed:
    """Poses from the worker, images from shared memory. Backlogged poses are dropped by ZeroMQ, never the worker's."""

    def __init__(self, folder: RunFolder, backlog: int) -> None:
        self._subscriber = Subscriber(backlog)
        self._subscriber.connect(folder.poses_address)
        self._reader = RingReader()

    def poll(self) -> Sequence[PoseSet | End]:
        return [message for message, _ in self._subscriber.receive() if isinstance(message, PoseSet | End)]

    def image(self, slot: SlotRef, width: int) -> np.ndarray | None:
        view = self._reader.view(slot)
        if view is None:
            return None
        height = round(slot.height * width / slot.width)
        small = cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA)
        return small if self._reader.intact(slot) else None

    def close(self) -> None:
        self._subscriber.close()
        self._reader.close()
