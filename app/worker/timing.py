"""When a frame set passed each hop of its way, and how long each stage took."""

from collections.abc import Mapping
from dataclasses import dataclass

from calibration.frames import FrameSet

_SUMS = ("own",)


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

    @property
    def photon_to_pose_ms(self) -> float | None:
        """From the oldest light in the set; None where the latency of one of its cameras was not measured."""
        light_ns = self.hops_ns.get("light")
        return None if light_ns is None else (self.published_ns - light_ns) / 1e6

    def photon_to_pose_parts_ms(self) -> dict[str, float]:
        """The stages, but those that are sums of others, and `other`, which lies between them: they add up to it."""
        parts = {stage: time_ms for stage, time_ms in self.stage_ms.items() if stage not in _SUMS}
        return {**parts, "other": (self.photon_to_pose_ms or 0.0) - sum(parts.values())}


def set_timing(
    frame_set: FrameSet,
    *,
    start_ns: int,
    end_ns: int,
    published_ns: int,
    within_ms: Mapping[str, float],
    light_to_grab_ms: Mapping[str, float] | None = None,
) -> SetTiming:
    """Of a set that was estimated from `start_ns` to `end_ns`, in the stages `within_ms`.

    A set without frames counts as grabbed when its estimate began. The stage `own` is all from the last grab but the
    detector's work. `light_to_grab_ms` are the cameras' measured latencies: where those of all the set's cameras are
    known, `light` is when the oldest of their exposures had its middle, and the stage from then to the first grab.
    """
    frames = frame_set.frames.values()
    grab_ns = min((frame.grab_time_ns for frame in frames), default=start_ns)
    last_grab_ns = max((frame.grab_time_ns for frame in frames), default=start_ns)
    publish_ns = max((frame.publish_time_ns for frame in frames), default=start_ns)
    known = light_to_grab_ms or {}
    light = {}
    if frame_set.frames and frame_set.frames.keys() <= known.keys():
        light["light"] = min(frame.grab_time_ns - round(known[frame.camera_id] * 1e6) for frame in frames)
    hops_ns = {
        **light,
        "grab": grab_ns,
        "last_grab": last_grab_ns,
        "publish": publish_ns,
        "set_closed": frame_set.closed_time_ns,
        "estimate_start": start_ns,
        "estimate_end": end_ns,
        "published": published_ns,
    }
    stage_ms = {
        **({"light": (grab_ns - light["light"]) / 1e6} if light else {}),
        "wait_for_slowest": (last_grab_ns - grab_ns) / 1e6,
        "grab": (publish_ns - last_grab_ns) / 1e6,
        "transport": (frame_set.closed_time_ns - publish_ns) / 1e6,
        "queue": (start_ns - frame_set.closed_time_ns) / 1e6,
        **within_ms,
        "publish": (published_ns - end_ns) / 1e6,
        "own": (published_ns - last_grab_ns) / 1e6 - within_ms.get("detect", 0.0),
    }
    return SetTiming(hops_ns, stage_ms)
