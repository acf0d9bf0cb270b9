"""The feed of a run: its poses, its cameras' images, its recorder's state."""

from collections.abc import Sequence

import numpy as np

from app.run.settings import RunFolder
from app.transport.messages import End, PoseSet, RecordingStatus
from app.transport.ring import RingReader, SlotRef
from app.transport.sockets import Subscriber
from app.viewer.reduced import reduced


class LiveFeed:
    """Poses from the worker, the recorder's state where it is wanted, images from shared memory.

    Backlogged messages are dropped by ZeroMQ, never the worker's. It listens from the first poll on: a replay begins
    when it is listened to, which is then when its window is open.
    """

    def __init__(self, folder: RunFolder, backlog: int, with_recorder: bool = False) -> None:
        self._subscriber = Subscriber(backlog)
        self._addresses = [folder.poses_address, *([folder.recording_address] if with_recorder else [])]
        self._reader = RingReader()
        self._pids: dict[str, int] = {}

    def poll(self) -> Sequence[PoseSet | End | RecordingStatus]:
        while self._addresses:
            self._subscriber.connect(self._addresses.pop())
        received = self._subscriber.receive()
        messages = [message for message, _ in received if isinstance(message, PoseSet | End | RecordingStatus)]
        for message in messages:
            if isinstance(message, PoseSet):
                self._forget_ended(message)
        return messages

    def image(self, slot: SlotRef, width: int) -> np.ndarray | None:
        view = self._reader.view(slot)
        if view is None:
            return None
        height = round(slot.height * width / slot.width)
        small = reduced(view, width, height)
        return small if self._reader.intact(slot) else None

    def _forget_ended(self, pose_set: PoseSet) -> None:
        """Give back the memory of a camera's last grabber where another has taken its place."""
        for camera_id, report in pose_set.cameras.items():
            if report.slot is None:
                continue
            pid = self._pids.setdefault(camera_id, report.slot.pid)
            if pid != report.slot.pid:
                self._reader.forget(pid)
                self._pids[camera_id] = report.slot.pid

    def close(self) -> None:
        self._subscriber.close()
        self._reader.close()
