"""Rolling figures for the viewer's text line."""

from collections import defaultdict, deque
from dataclasses import dataclass, replace

import numpy as np

from app.transport.messages import PoseSet

_WINDOW_NS = 4_000_000_000
_STAGE_SETS = 120
_DRAW = "draw"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Poses per second and latency (grab to published, milliseconds) over the last seconds; None while unknown.

    `photon_p50_ms`: from the light to the published pose, where the cameras' latency was measured.
    """

    rate_hz: float | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    photon_p50_ms: float | None = None
    cameras_alive: int = 0
    cameras: int = 0
    dropped: int = 0


def is_heartbeat(pose_set: PoseSet) -> bool:
    """Whether the message only says how the cameras are: no frame set stands behind it."""
    return "grab" not in pose_set.hops_ns


class RollingStats:
    """Keeps the pose sets' times of the last few seconds."""

    def __init__(self, window_ns: int = _WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._times: deque[tuple[int, float]] = deque()
        self._photons: deque[tuple[int, float]] = deque()
        self._newest: PoseSet | None = None
        self._stages: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_STAGE_SETS))

    def add(self, pose_set: PoseSet) -> None:
        self._newest = pose_set
        hops = pose_set.hops_ns
        if not is_heartbeat(pose_set) and "published" in hops:
            self._times.append((hops["published"], (hops["published"] - hops["grab"]) / 1e6))
            if "light" in hops:
                self._photons.append((hops["published"], (hops["published"] - hops["light"]) / 1e6))
            self._forget(hops["published"])
        for name, ms in pose_set.stage_ms.items():
            self._stages[name].append(ms)

    def drawn(self, pose_set: PoseSet, now_ns: int) -> None:
        if "published" in pose_set.hops_ns:
            self._stages[_DRAW].append((now_ns - pose_set.hops_ns["published"]) / 1e6)

    def stages_ms(self) -> dict[str, float]:
        """The median of each stage in the last sets, in the order of the way."""
        names = sorted(self._stages, key=lambda name: name == _DRAW)
        return {name: float(np.median(self._stages[name])) for name in names}

    def figures(self, now_ns: int) -> Figures:
        """Figures at `now_ns`, monotonic. The rate counts the whole window, so that it falls when poses stop."""
        self._forget(now_ns)
        if self._newest is None:
            return Figures()
        reports = self._newest.cameras.values()
        figures = Figures(
            cameras_alive=sum(report.state == "streaming" for report in reports),
            cameras=len(reports),
            dropped=sum(report.dropped for report in reports),
        )
        if len(self._times) < 2:
            return figures
        span_s = (max(self._times[-1][0], now_ns) - self._times[0][0]) / 1e9
        latencies_ms = [latency for _, latency in self._times]
        p50, p99 = np.percentile(latencies_ms, [50, 99])
        rate = (len(self._times) - 1) / span_s if span_s > 0 else None
        photon_ms = float(np.median([ms for _, ms in self._photons])) if self._photons else None
        return replace(
            figures, rate_hz=rate, latency_p50_ms=float(p50), latency_p99_ms=float(p99), photon_p50_ms=photon_ms
        )

    def _forget(self, now_ns: int) -> None:
        """What is older than the window; not every view asks for figures."""
        for past in (self._times, self._photons):
            while past and past[0][0] < now_ns - self._window_ns:
                past.popleft()
