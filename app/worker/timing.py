"""When a frame set passed each hop of its way, and how long each stage took."""

from collections.abc import Mapping
from dataclasses import dataclass

from calibration.frames import FrameSet


@dataclass(frozen=True)
class SetTiming:
    """`hops_ns` on the monotonic clock and `stage_ms`, as a PoseSet has them; complete before it is made."""

    hops_ns: dict[str, int]
    stage_ms: dict[str, float]

    @property
    def published_ns(self) -> int:
        return self.hops_ns["published"]

    @property
    def latency_ms(self) -> float:
        """From the first grab."""
        return (self.published_ns - self.hops_ns["grab"]) / 1e6


def set_timing(
    frame_set: FrameSet, *, start_ns: int, end_ns: int, published_ns: int, within_ms: Mapping[str, float]
) -> SetTiming:
    """Of a set that was estimated from `start_ns` to `end_ns`, in the stages `within_ms`.

    A set without frames counts as grabbed when its estimate began. The stage `own` is all from the last grab but the
    detector's work.
    """
    frames = frame_set.frames.values()
    grab_ns = min((frame.grab_time_ns for frame in frames), default=start_ns)
    last_grab_ns = max((frame.grab_time_ns for frame in frames), default=start_ns)
    publish_ns = max((frame.publish_time_ns for frame in frames), default=start_ns)
    hops_ns = {
        "grab": grab_ns,
        "last_grab": last_grab_ns,
        "publish": publish_ns,
        "set_closed": frame_set.closed_time_ns,
        "estimate_start": start_ns,
        "estimate_end": end_ns,
        "published": published_ns,
    }
    stage_ms = {
        "wait_for_slowest": (last_grab_ns - grab_ns) / 1e6,
        "grab": (publish_ns - last_grab_ns) / 1e6,
        "transport": (frame_set.closed_time_ns - publish_ns) / 1e6,
        "queue": (start_ns - frame_set.closed_time_ns) / 1e6,
        **within_ms,
        "publish": (published_ns - end_ns) / 1e6,
        "own": (published_ns - last_grab_ns) / 1e6 - within_ms.get("detect", 0.0),
    }
    return SetTiming(hops_ns, stage_ms)
