"""The time line of a replay: what was seen is played from memory, what was not yet seen by the worker. Where neither
has it yet, or any more, `sought_ns` is a time whose pictures are wanted from the videos.

The worker estimates every set once, in order, whatever the user does here: it is held and let go, and nothing else. So
the poses that a replay writes do not depend on it.
"""

from typing import Protocol

import numpy as np

from app.viewer.history import History

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_SECOND_NS = 1_000_000_000


class ReplayWorker(Protocol):
    """Who plays what was not yet seen: `app.viewer.play_control`."""

    def play(self, speed: float, time_ns: int | None = None) -> None: ...


class Replay:
    """Plays from `first_ns` to `last_ns` of the recording, a set each `period_ns`.

    `cursor_ns` is the time that is shown while it lies back in what was seen; None at the edge, where the newest set is
    shown and the worker goes on. `frames_ns` are the times of all frames, in order, where the recording may have gaps.
    A set is complete once the worker was let go on to `lead_ns` after its time.
    """

    def __init__(
        self,
        worker: ReplayWorker,
        first_ns: int,
        last_ns: int,
        period_ns: int,
        *,
        frames_ns: np.ndarray | None = None,
        lead_ns: int = 0,
    ) -> None:
        self._worker, self._period_ns = worker, period_ns
        self._frames_ns, self._lead_ns = np.empty(0, int) if frames_ns is None else frames_ns, lead_ns
        self.first_ns, self.last_ns = first_ns, max(last_ns, first_ns + 1)
        self.history = History()
        self.playing, self.loops, self.ended = True, False, False
        self.cursor_ns: int | None = None
        self._speed_at = SPEEDS.index(1.0)
        self._wanted_ns = 0
        self._told = 1.0
        self._shown_ns: int | None = None
        self._last_ns = 0
        self.sought_ns: int | None = None

    @property
    def speed(self) -> float:
        return SPEEDS[self._speed_at]

    @property
    def position_ns(self) -> int:
        """The recording's time that is shown."""
        if self.is_ahead:
            return self._wanted_ns
        return self.newest_ns if self.cursor_ns is None else self.cursor_ns

    @property
    def newest_ns(self) -> int:
        return self.history.times_ns[-1] if len(self.history) else self.first_ns

    @property
    def wanted_ns(self) -> int:
        """As far as the worker was asked to hurry; it may not be there yet."""
        return max(self._wanted_ns, self.newest_ns)

    @property
    def stays(self) -> bool:
        """Whether there is something to look at when the worker has ended."""
        return self.loops or not self.playing or self.is_back

    @property
    def is_back(self) -> bool:
        """Whether something older than the newest set is shown."""
        return self.cursor_ns is not None

    @property
    def is_ahead(self) -> bool:
        """Whether a place is shown that the worker has yet to come to."""
        before_ns = self._wanted_ns - 1.5 * self._period_ns
        return self.cursor_ns is None and not self.ended and self.sought_ns is not None and self.newest_ns < before_ns

    def end(self) -> None:
        """The worker has no more sets."""
        self.ended = True

    def toggle_play(self) -> None:
        self.playing = not self.playing
        self._tell()

    def toggle_loop(self) -> None:
        self.loops = not self.loops

    def change_speed(self, steps: int) -> None:
        self._speed_at = min(max(self._speed_at + steps, 0), len(SPEEDS) - 1)
        self._tell()

    def step(self, sets: int) -> None:
        """One set back or on, and stand there; beyond the newest the worker makes the next."""
        self.playing = False
        if self.is_ahead:
            self._go_to(self._wanted_ns + sets * self._period_ns, back=sets < 0)
            return
        index = self.history.at(self.position_ns) + sets
        if index < len(self.history):
            self._show(max(index, 0))
        else:
            self._hurry_to(self._next_ns)

    def skip(self, seconds: float) -> None:
        """So many seconds back or on; play goes on if it did."""
        self._go_to(self.position_ns + round(seconds * _SECOND_NS), back=seconds < 0)

    def go_to_end(self, newest: bool) -> None:
        """To the first set, or to the newest."""
        if newest:
            self.cursor_ns = self.sought_ns = None
            self._tell()
        else:
            self._go_to(self.first_ns)

    def drag_to(self, time_ns: int) -> None:
        """Where the user drags the time line to; play stops."""
        self.playing = False
        self._go_to(time_ns)

    def advance(self, now_ns: int) -> int | None:
        """Play what was seen, at `now_ns` of the monotonic clock; the index of the moment to show, once."""
        elapsed_ns, self._last_ns = now_ns - self._last_ns, now_ns
        if self.playing and self.cursor_ns is None and self.ended and self.loops and len(self.history):
            self._show(0)
        elif self.playing and self.cursor_ns is not None:
            self.cursor_ns += round(elapsed_ns * self.speed)
            if self.cursor_ns >= self.newest_ns:
                self.cursor_ns = self.sought_ns = None
                self._tell()
        before_ns, self._shown_ns = self._shown_ns, None
        if self.cursor_ns is None:
            # At the edge sets are shown as they come; the way back to it ends at the newest of those kept.
            return None if before_ns is None or not len(self.history) else len(self.history) - 1
        if self._is_forgotten(self.cursor_ns):
            self.sought_ns = self.cursor_ns
            return None
        self.sought_ns = None
        index = self.history.at(self.cursor_ns)
        self._shown_ns = self.history.times_ns[index]
        return None if self._shown_ns == before_ns else index

    def _go_to(self, time_ns: int, back: bool = False) -> None:
        if self._is_forgotten(time_ns):
            self.cursor_ns = self.sought_ns = max(time_ns, self.first_ns)
            self._tell()
        elif time_ns <= self.newest_ns and len(self.history):
            self._show(self.history.at(time_ns), time_ns)
        elif (reached_ns := self._out_of_gap(time_ns, back)) != time_ns:
            self._go_to(reached_ns)
        else:
            self._hurry_to(min(time_ns, self.last_ns + self._period_ns))
            self.sought_ns = min(time_ns, self.last_ns)

    def _out_of_gap(self, time_ns: int, back: bool) -> int:
        """A time; where the recording has no frame for longer before it, that of the next frame, or `back` the last."""
        at = int(np.searchsorted(self._frames_ns, time_ns, "right"))
        if not 0 < at < len(self._frames_ns) or time_ns - self._frames_ns[at - 1] <= self._period_ns:
            return time_ns
        return int(self._frames_ns[at - 1 if back else at])

    @property
    def _next_ns(self) -> int:
        """The time of the set after the newest, or of one of its frames after a gap."""
        next_ns = self.newest_ns + self._period_ns
        at = int(np.searchsorted(self._frames_ns, next_ns - self._period_ns // 20, "right"))
        return next_ns if at == len(self._frames_ns) else max(next_ns, int(self._frames_ns[at]))

    def _is_forgotten(self, time_ns: int) -> bool:
        return self.history.forgets and time_ns < self.history.times_ns[0]

    def _show(self, index: int, time_ns: int | None = None) -> None:
        if not len(self.history):
            return
        at_ns, self.sought_ns = self.history.times_ns[index], None
        self.cursor_ns = at_ns if time_ns is None else max(time_ns, self.history.times_ns[0])
        self._tell()

    def _hurry_to(self, time_ns: int) -> None:
        """Let the worker estimate all up to a time as fast as it can."""
        self.cursor_ns, self._wanted_ns, self.sought_ns = None, time_ns, None
        self._told = self._asked
        self._worker.play(self._told, time_ns + self._lead_ns)

    @property
    def _asked(self) -> float:
        return self.speed if self.playing and self.cursor_ns is None else 0.0

    def _tell(self) -> None:
        if self._asked != self._told:
            self._told = self._asked
            self._worker.play(self._told)
