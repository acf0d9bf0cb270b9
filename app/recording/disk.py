"""How much room there is for a recording."""

import os
import time
from collections import deque
from pathlib import Path

_SPAN_S = 10.0


class DiskSpace:
    """Of the file system that holds `folder`, which need not exist, but for the `reserve` bytes that stay free."""

    def __init__(self, folder: Path, reserve: int) -> None:
        self._folder = folder
        self._reserve = reserve
        self._written: deque[tuple[float, int]] = deque()

    @property
    def left(self) -> int:
        """Bytes; negative where less than the reserve is free."""
        place = next(place for place in (self._folder, *self._folder.parents) if place.exists())
        found = os.statvfs(place)
        return found.f_bavail * found.f_frsize - self._reserve

    def note(self, written: int) -> None:
        """How many bytes a recording has so far."""
        now = time.monotonic()
        if self._written and written < self._written[-1][1]:
            self._written.clear()
        self._written.append((now, written))
        while self._written[0][0] < now - _SPAN_S:
            self._written.popleft()

    @property
    def seconds_left(self) -> float | None:
        """At the rate of the last seconds; None where it is not known."""
        if len(self._written) < 2:
            return None
        (began, before), (ended, after) = self._written[0], self._written[-1]
        if after <= before:
            return None
        return max(0, self.left) * (ended - began) / (after - before)
