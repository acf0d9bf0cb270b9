"""What a run publishes, heard from outside: which moments had a set, and which views each set had."""

import threading
import time
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from app.transport.messages import PoseSet
from app.transport.sockets import Subscriber, wait

_BACKLOG = 1024


@dataclass(frozen=True)
class HeardSet:
    """`views`: a bit for each camera, in the rig's order."""

    time_ns: int
    views: int


class Observer:
    """Hears the run's own sets, each of them, in a thread."""

    def __init__(self, address: str, camera_ids: list[str]) -> None:
        self._address, self._bits = address, {name: 1 << number for number, name in enumerate(camera_ids)}
        self._sets: list[HeardSet] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        subscriber = Subscriber(_BACKLOG)
        subscriber.connect(self._address)
        while not self._closed.is_set():
            wait([subscriber], [], 0.1)
            for message, _ in subscriber.receive():
                if isinstance(message, PoseSet) and message.set_index >= 0:
                    views = sum(self._bits[name] for name in message.views)
                    self._sets.append(HeardSet(message.reference_time_ns, views))
        subscriber.close()

    @property
    def sets(self) -> list[HeardSet]:
        return self._sets

    def wait_for(self, camera_id: str | None, after_ns: int, timeout_s: float) -> float | None:
        """Seconds from `after_ns` (monotonic) to the first later set, with that camera if one is given; None in
        time-out."""
        bit = self._bits[camera_id] if camera_id else 0
        looked, end_s = 0, time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            looked = max(looked, bisect_right(self._sets, after_ns, key=lambda each: each.time_ns))
            for each in self._sets[looked:]:
                looked += 1
                if each.views & bit == bit and each.views:
                    return (each.time_ns - after_ns) / 1e9
            time.sleep(0.02)
        return None

    def missed_ns(self, period_ns: float, begin_ns: int, end_ns: int) -> np.ndarray:
        """Moments between the two, whole periods of the clock, of which no set was heard."""
        times = np.array([each.time_ns for each in self._sets], float)
        moments = np.arange(np.ceil(begin_ns / period_ns), np.floor(end_ns / period_ns))
        return moments[~np.isin(moments, np.round(times / period_ns))] * period_ns

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
