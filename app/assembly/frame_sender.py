"""Who grabs a camera: one grabber, and where it is expected to be."""

import logging
import time
from pathlib import Path

from app.run.policy import Policy
from app.transport.messages import CameraStatus, FrameHeader
from calibration.rig import RigCamera

log = logging.getLogger(__name__)

_SAID_AGAIN_S = 30.0


class FrameSender:
    """Accepts what comes of one grabber of a camera, and ignores others as long as that one is heard.

    A grabber of this host takes the place of one whose process is gone at once.
    """

    def __init__(self, camera: RigCamera, policy: Policy) -> None:
        self._camera, self._policy = camera, policy
        self._sender = self._pid = 0
        self._heard_s = self._said_s = float("-inf")
        self.ignored = 0

    @property
    def is_heard(self) -> bool:
        return time.monotonic() - self._heard_s < self._policy.silent_s

    def accepts(self, message: FrameHeader | CameraStatus, from_network: bool) -> bool:
        """Whether the message is of this camera's grabber."""
        if from_network != self._camera.remote:
            self._ignore(
                "a peer on the network sends frames of it, though it is a camera of this machine: they are ignored. "
                "Set `remote: true` in rig.yaml if it is grabbed elsewhere"
                if from_network
                else "a grabber on this machine sends frames of it, though it is remote: they are ignored"
            )
            return False
        if message.sender != self._sender and self.is_heard and not self._is_gone():
            self._ignore(
                "two grabbers send frames of it: the one that came first is taken, the other ignored. End one of them"
            )
            return False
        self._sender, self._heard_s = message.sender, time.monotonic()
        if isinstance(message, CameraStatus):
            self._pid = message.pid
        return True

    def _is_gone(self) -> bool:
        return not self._camera.remote and self._pid > 0 and not Path(f"/proc/{self._pid}").exists()

    def _ignore(self, why: str) -> None:
        self.ignored += 1
        if time.monotonic() - self._said_s > _SAID_AGAIN_S:
            self._said_s = time.monotonic()
            log.warning("camera %s: %s", self._camera.camera_id, why)
