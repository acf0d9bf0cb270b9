"""When a frame set passed each hop of its way, and how long each stage took."""

from collections.abc import Mapping
from dataclasses import dataclass

from calibration.frames import FrameSet


@dataclass(frozen=True, kw_only=True)
class SetTiming:
    """Hops on the monotonic clock, nanoseconds, in their order: those of a set's frames, then of the set.

    `grab_ns` is of the first frame that was grabbed, `last_grab_ns` and `publish_ns` of the last. `published_ns` is
    when all that the message says is there but this. `within_ms` has the stages from `estimate_start_ns` to
    `estimate_end_ns`.
    """

    grab_ns: int
    last_grab_ns: int
    publish_ns: int
    set_closed_ns: int
    estimate_start_ns: int
    estimate_end_ns: int
    published_ns: int
    within_ms: Mapping[str, float]

    @classmethod
    def of(
        cls, frame_set: FrameSet, *, start_ns: int, end_ns: int, published_ns: int, within_ms: Mapping[str, float]
    ) -> "SetTiming":
        """A set without frames counts as grabbed when its estimate began."""
        frames = frame_set.frames.values()
        return cls(
            grab_ns=min((frame.grab_time_ns for frame in frames), default=start_ns),
            last_grab_ns=max((frame.grab_time_ns for frame in frames), default=start_ns),
            publish_ns=max((frame.publish_time_ns for frame in frames), default=start_ns),
            set_closed_ns=frame_set.closed_time_ns,
            estimate_start_ns=start_ns,
            estimate_end_ns=end_ns,
            published_ns=published_ns,
            within_ms=within_ms,
        )

    @property
    def latency_ms(self) -> float:
        return (self.published_ns - self.grab_ns) / 1e6

    @property
    def hops_ns(self) -> dict[str, int]:
        """As a PoseSet has them."""
        return {
            "grab": self.grab_ns,
            "last_grab": self.last_grab_ns,
            "publish": self.publish_ns,
            "set_closed": self.set_closed_ns,
            "estimate_start": self.estimate_start_ns,
            "estimate_end": self.estimate_end_ns,
            "published": self.published_ns,
        }

    @property
    def stage_ms(self) -> dict[str, float]:
        """As a PoseSet has them; `own` is all from the last grab but the detector's work."""
        return {
            "wait_for_slowest": (self.last_grab_ns - self.grab_ns) / 1e6,
            "grab": (self.publish_ns - self.last_grab_ns) / 1e6,
            "transport": (self.set_closed_ns - self.publish_ns) / 1e6,
            "queue": (self.estimate_start_ns - self.set_closed_ns) / 1e6,
            **self.within_ms,
            "publish": (self.published_ns - self.estimate_end_ns) / 1e6,
            "own": (self.published_ns - self.last_grab_ns) / 1e6 - self.within_ms.get("detect", 0.0),
        }
