"""A grabber on another machine that says what a test wants it to say."""

import threading
import time

import numpy as np

from app.transport.messages import CameraStatus, FrameHeader
from app.transport.sockets import Publisher


class FakeGrabber:
    """Sends black frames of a camera to a worker that listens, `ahead_s` of its clock, until it is closed."""

    def __init__(
        self,
        address: str,
        camera_id: str,
        size: tuple[int, int],
        fps: float = 20.0,
        ahead_s: float = 0.0,
        sender: int = 1,
    ) -> None:
        self.ahead_s, self.sent, self.sender = ahead_s, 0, sender
        self._camera_id, self._size, self._period_s = camera_id, size, 1 / fps
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        publisher = Publisher(backlog=2)
        publisher.connect(self._address)
        width, height = self._size
        pixels = np.zeros((height, width, 3), np.uint8).tobytes()
        while not self._stop.wait(self._period_s):
            if self.sent % 5 == 0:
                publisher.send(CameraStatus(camera_id=self._camera_id, state="streaming", sender=self.sender))
            now_ns = time.monotonic_ns() + round(self.ahead_s * 1e9)
            header = FrameHeader(
                camera_id=self._camera_id,
                sequence=self.sent,
                capture_time_ns=now_ns,
                grab_time_ns=now_ns,
                publish_time_ns=now_ns,
                width=width,
                height=height,
                encoding="raw",
                sender=self.sender,
            )
            publisher.send(header, pixels)
            self.sent += 1
        publisher.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
