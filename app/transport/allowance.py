"""How many messages of others a process reads: more wait in the network, whose senders have to wait or to drop."""

import time
from collections.abc import Callable


class Allowance:
    """So many a second, and at most a tenth of a second's at once."""

    def __init__(self, per_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._now_s = per_s, now_s
        self._most = max(1.0, per_s / 10)
        self._left, self._at_s = self._most, now_s()

    @property
    def left(self) -> int:
        now_s = self._now_s()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return int(self._left)

    def use(self) -> None:
        self._left -= 1
