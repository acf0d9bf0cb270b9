"""Rolling figures of each camera, for its tile."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from app.transport.messages import CameraReport, PoseSet

_WINDOW_NS = 4_000_000_000
_LONGEST_NS = 10_000_000_000
_SHORTEST_S = 0.5


@dataclass(frozen=True, kw_only=True)
class CameraRates:
    """Frames a second, median time from capture to published pose in milliseconds (None while unknown, and of recorded
    cameras, whose times are on another clock), and frames that were lost: dropped, late, stale or corrupt."""

    rate_hz: float | None = None
    latency_ms: float | None = None
    lost: int = 0

    def parts(self) -> list[str]:
        """In words, the most important first."""
        rate = [] if self.rate_hz is None else [f"{self.rate_hz:.1f}/s"]
        latency = [] if self.latency_ms is None else [f"{self.latency_ms:.0f} ms"]
        return [*rate, *latency, f"{self.lost} lost"]


class RollingCameraRates:
    """Keeps the counters of the last seconds' messages."""

    def __init__(self) -> None:
        self._past: dict[str, deque[tuple[int, int, float | None]]] = {}
        self._lost: dict[str, int] = {}

    def add(self, message: PoseSet, now_ns: int) -> None:
        """A message, a heartbeat too, that came at `now_ns`, monotonic; it may have waited since it was published."""
        now_ns = min(message.hops_ns.get("published", now_ns), now_ns)
        for camera_id, report in message.cameras.items():
            past = self._past.setdefault(camera_id, deque())
            if past and report.frames < past[-1][1]:
                past.clear()  # a worker that was started again counts from 0
            past.append((now_ns, report.frames, _latency_ms(report, message.hops_ns.get("published"))))
            _forget(past, now_ns)
            self._lost[camera_id] = report.dropped + report.late + report.stale + report.corrupt

    def figures(self, camera_id: str, now_ns: int) -> CameraRates:
        past = self._past.get(camera_id)
        if past is None:
            return CameraRates()
        _forget(past, now_ns)
        lost = self._lost[camera_id]
        if len(past) < 2:
            return CameraRates(lost=lost)
        span_s = (past[-1][0] - past[0][0]) / 1e9
        latencies = [latency for _, _, latency in past if latency is not None]
        return CameraRates(
            rate_hz=(past[-1][1] - past[0][1]) / span_s if span_s >= _SHORTEST_S else None,
            latency_ms=float(np.median(latencies)) if latencies else None,
            lost=lost,
        )


def _forget(past: deque[tuple[int, int, float | None]], now_ns: int) -> None:
    """What is older than the window; not every view asks for figures."""
    while past and past[0][0] < now_ns - _WINDOW_NS:
        past.popleft()


def _latency_ms(report: CameraReport, published_ns: int | None) -> float | None:
    if report.slot is None or published_ns is None:
        return None
    latency_ns = published_ns - report.capture_time_ns
    return latency_ns / 1e6 if 0 <= latency_ns < _LONGEST_NS else None
