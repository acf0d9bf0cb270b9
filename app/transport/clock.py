"""The offset between the clocks of two hosts, from round trips to the worker.

Of many round trips the shortest is the least disturbed: offset = ((t1 - t0) + (t2 - t3)) / 2, and its error is at most
half of the round trip less the time spent at the other end (D. Mills, "Internet time synchronization: the Network Time
Protocol", IEEE Trans. Communications 1991).
"""

import logging
import time
from collections import deque
from collections.abc import Callable

from app.transport.sockets import CommandClient

log = logging.getLogger(__name__)

_KEPT = 64
# Quartz clocks differ by some 20 millionths: an old round trip vouches for less.
_DRIFT = 40e-6
# Beyond the bounds of both: rounding, and a drift that is steeper for a moment.
_JUMP_NS = 1_000_000


class ClockOffset:
    """Worker clock minus this host's clock, kept up to date by `measure`."""

    def __init__(self, client: CommandClient, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._client = client
        self._clock = clock
        self._trips: deque[tuple[int, int, int]] = deque(maxlen=_KEPT)

    def measure(self, trips: int = 1, timeout_s: float = 0.5) -> bool:
        """Do round trips; True where the offset is known."""
        for _ in range(trips):
            sent = self._clock()
            answer = self._client.ask({"do": "clock"}, timeout_s)
            back = self._clock()
            received, answered = ((answer or {}).get(name) for name in ("received_ns", "answered_ns"))
            if isinstance(received, int) and isinstance(answered, int):
                self.add(sent, received, answered, back)
        return bool(self._trips)

    def add(self, sent_ns: int, received_ns: int, answered_ns: int, back_ns: int) -> None:
        """One round trip: sent and back on this host's clock, received and answered on the worker's."""
        offset = ((received_ns - sent_ns) + (answered_ns - back_ns)) // 2
        error = max(((back_ns - sent_ns) - (answered_ns - received_ns)) // 2, 0)
        if self._trips:
            known, bound = self.best()
            if abs(offset - known) > bound + error + _JUMP_NS:
                # Both cannot be true: a clock stood still, as of a machine that slept, and old trips say nothing of it.
                log.warning("the clocks' offset changed by %.3f s; it is measured anew", (offset - known) / 1e9)
                self._trips.clear()
        self._trips.append((back_ns, offset, error))

    def best(self) -> tuple[int, int]:
        """(offset_ns, error_ns): the offset, and the bound of its error."""
        now = self._clock()
        error, offset = min((error + int((now - at) * _DRIFT), offset) for at, offset, error in self._trips)
        return offset, error


def answer_clock() -> dict:
    """The worker's half of a round trip."""
    received = time.monotonic_ns()
    return {"received_ns": received, "answered_ns": time.monotonic_ns()}
