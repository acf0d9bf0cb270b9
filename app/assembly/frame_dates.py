"""The times that a camera's frames come with, against when they come."""

import time
from statistics import median

from app.assembly.time_notes import longest_wait_ms
from app.run.policy import Policy
from app.transport.messages import FrameHeader
from calibration.rig import Rig

_RIGHT_AGAIN_NS = 1_000_000_000
# Of frames that were all too old for so long the clock is wrong, or the network holds them back.
_OLD_NS = 2_000_000_000


class FrameDates:
    """Refuses frames that lie in the future and says what is wrong; what is too old is left to the age limit.

    Frames of this host are stamped by the clock that they are compared with. Another machine's clock is known to some
    milliseconds, but may be wrong by anything until it is measured anew: where that machine slept, or is hostile. A
    live frame that calls itself recorded is like any other.
    """

    def __init__(self, policy: Policy, offset_ns: int = 0, longest_wait_ms: float = 0.0) -> None:
        """`offset_ns`: the camera's `time_offset` against the rig's others. A frame that lies with it farther ahead
        than a set waits, `longest_wait_ms`, has no set that the others are in."""
        self._policy = policy
        self._offset_ns = offset_ns
        self._most_ahead_ns = max(policy.future_ms, longest_wait_ms) * 1e6
        self._ahead_ns = self._refused_ns = 0
        self._is_misstamped = False
        self._old_since_ns: int | None = None
        self._age_ns = 0

    def refuses(self, header: FrameHeader, now_ns: int) -> bool:
        """Whether this frame, which came at `now_ns` (monotonic), says that it was taken later."""
        if self._policy.waits_for_all:
            return False
        newest_ns = max(header.capture_time_ns, header.grab_time_ns, header.publish_time_ns)
        is_misstamped = newest_ns - now_ns > self._policy.future_ms * 1e6
        if is_misstamped or header.capture_time_ns - self._offset_ns - now_ns > self._most_ahead_ns:
            self._ahead_ns, self._refused_ns, self._is_misstamped = newest_ns - now_ns, now_ns, is_misstamped
            return True
        self._age_ns = now_ns - header.capture_time_ns
        if self._age_ns <= self._policy.max_age_ms * 1e6:
            self._old_since_ns = None
        elif self._old_since_ns is None:
            self._old_since_ns = now_ns
        return False

    @property
    def note(self) -> str:
        """What is wrong now, for the user; nothing where nothing is."""
        now_ns = time.monotonic_ns()
        is_refused = self._refused_ns and now_ns - self._refused_ns < _RIGHT_AGAIN_NS
        if is_refused and not self._is_misstamped:
            return (
                f"ahead of the other cameras by {-self._offset_ns / 1e9:.3g} s, by its `time_offset` in rig.yaml: its "
                "frames are left out, as no set waits so long; correct that, or calibrate again"
            )
        if is_refused:
            return (
                f"stamped {self._ahead_ns / 1e9:.3g} s in the future: its frames are left out until its clock is "
                "measured anew; is it another machine's that slept, or whose clock jumped?"
            )
        if self._old_since_ns is not None and now_ns - self._old_since_ns > _OLD_NS:
            return (
                f"old when they come: its frames are {self._age_ns / 1e9:.3g} s old, beyond --max-age-ms "
                f"{self._policy.max_age_ms:g}, and left out; the network holds them back, or its clock is wrong"
            )
        return ""


def frame_dates(rig: Rig, policy: Policy) -> dict[str, FrameDates]:
    """Of each camera. A calibration's offsets are relative to their mean: all may be shifted alike."""
    longest_ms = longest_wait_ms(rig.sync, policy)
    shift_ns = min(0, round(median(camera.time_offset_ns for camera in rig.cameras)))
    return {
        camera.camera_id: FrameDates(policy, camera.time_offset_ns - shift_ns, longest_ms) for camera in rig.cameras
    }
