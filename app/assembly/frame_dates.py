"""The times that a camera's frames come with, against when they come."""

import time

from app.run.policy import Policy
from app.transport.messages import FrameHeader

_RIGHT_AGAIN_NS = 1_000_000_000
# Of frames that were all too old for so long the clock is wrong, or the network holds them back.
_OLD_NS = 2_000_000_000


class FrameDates:
    """Refuses frames that lie in the future and says what is wrong; what is too old is left to the age limit.

    Frames of this host are stamped by the clock that they are compared with. Another machine's clock is known to some
    milliseconds, but may be wrong by anything until it is measured anew: where that machine slept, or is hostile.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._ahead_ns = self._refused_ns = 0
        self._old_since_ns: int | None = None
        self._age_ns = 0

    def refuses(self, header: FrameHeader, now_ns: int) -> bool:
        """Whether this frame, which came at `now_ns` (monotonic), says that it was taken later."""
        if self._policy.waits_for_all or header.recorded:
            return False
        newest_ns = max(header.capture_time_ns, header.grab_time_ns, header.publish_time_ns)
        if newest_ns - now_ns > self._policy.future_ms * 1e6:
            self._ahead_ns, self._refused_ns = newest_ns - now_ns, now_ns
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
        if self._refused_ns and now_ns - self._refused_ns < _RIGHT_AGAIN_NS:
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
