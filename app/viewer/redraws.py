"""How often and how long the window redraws: for the summary of a run."""

from collections import deque

import numpy as np

_KEPT = 20_000


class Redraws:
    """Counts the redraws of a run; the times of the last ten minutes' are kept."""

    def __init__(self) -> None:
        self._busy_ms: deque[float] = deque(maxlen=_KEPT)
        self._first_s: float | None = None
        self._last_s = 0.0
        self.count = 0

    def add(self, began_s: float, ended_s: float) -> None:
        """A redraw on the monotonic clock, seconds, the waiting for the next one not in it."""
        if self._first_s is None:
            # The first one also opens the window's shaders.
            self._first_s = self._last_s = ended_s
            return
        self.count += 1
        self._last_s = ended_s
        self._busy_ms.append((ended_s - began_s) * 1e3)

    def summary(self) -> dict:
        """`redraws`, `redraws_per_s`, and the work of one, `redraw_ms`, as percentiles; empty before there were two."""
        if self._first_s is None or self.count < 2:
            return {}
        p50, p99 = np.percentile(self._busy_ms, [50, 99])
        return {
            "redraws": self.count,
            "redraws_per_s": round(self.count / (self._last_s - self._first_s), 2),
            "redraw_ms": {"p50": round(float(p50), 2), "p99": round(float(p99), 2)},
        }
