"""One camera as the synchroniser sees it: its frames that wait, what it counts, its period and how late it comes."""

from collections import deque
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

from calibration.frames import Frame


@dataclass(kw_only=True)
class Counters:
    """`dropped` by policy or lost upstream, `late` after the set closed, `stale` older than the age limit, `misdated`
    with a time that lies in the future."""

    frames: int = 0
    dropped: int = 0
    late: int = 0
    stale: int = 0
    misdated: int = 0


class Pending(NamedTuple):
    """A frame that waits for its set: its moment, comparable between cameras, and when it came."""

    key: int
    arrival_ns: int
    frame: Frame


@dataclass(frozen=True, kw_only=True)
class LaneTuning:
    """How a camera's period and delay are measured.

    `intervals`: so many make the period, half a second at 30 Hz. `even`: the mean interval counts while it differs from
    the median by a smaller share. `burst`: an interval shorter than this share of the mean is within a burst; where a
    quarter of them are, the mean counts. `delays`: so many frames make the usual delay, 1.5 s at 30 Hz, of which this
    `share` comes as soon: a hiccup of ten frames does not change it, every second frame that comes late does. `seldom`:
    a delay that so small a share falls short of is the least that a set can count on. `pulses`: so many of a trigger's
    are kept, a second at 30 Hz, and so many frames beside another camera's of the same pulse tell whether both count
    alike.
    """

    intervals: int = 16
    least_intervals: int = 3
    even: float = 0.2
    burst: float = 0.25
    delays: int = 45
    share: float = 0.75
    seldom: float = 0.1
    pulses: int = 31


_TUNING = LaneTuning()


class Lane:
    """What is known of one camera. `live`: sets wait for it."""

    def __init__(self, live: bool) -> None:
        self.pending: deque[Pending] = deque()
        self.counters = Counters()
        self.live = live
        self.sequence: int | None = None
        self.time_ns = 0
        self.arrival_ns = 0
        self.trigger_base: int | None = None
        self.last_key: int | None = None
        self.next_key: int | None = None
        self.member_key: int | None = None
        self.period_ns: float | None = None
        self.pulse_times_ns: dict[int, int] = {}
        self.pulses_off: deque[float] = deque(maxlen=_TUNING.pulses)
        self._intervals: deque[float] = deque(maxlen=_TUNING.intervals)
        self._delays: deque[int] = deque(maxlen=_TUNING.delays)
        self._ordered_ns: list[int] | None = None

    def add_interval(self, interval_ns: float) -> None:
        self._intervals.append(interval_ns)
        self.period_ns = self._period_ns()

    def keep_pulse(self, pulse: int, time_ns: int) -> None:
        self.pulse_times_ns[pulse] = time_ns
        if len(self.pulse_times_ns) > _TUNING.pulses:
            del self.pulse_times_ns[next(iter(self.pulse_times_ns))]

    @property
    def usual_pulses_off(self) -> float:
        """How much later, in pulses, its frames are than the others' of the same number; 0 while that is not known."""
        return median(self.pulses_off) if len(self.pulses_off) == _TUNING.pulses else 0.0

    def add_delay(self, delay_ns: int) -> None:
        """How long after its moment a frame came."""
        self._delays.append(delay_ns)
        self._ordered_ns = None

    @property
    def delay_ns(self) -> int:
        """How long after their moments frames usually come, at the latest."""
        return self._delay_of(_TUNING.share)

    @property
    def least_delay_ns(self) -> int:
        """How long after their moments frames come at the soonest, but for a few."""
        return self._delay_of(_TUNING.seldom)

    def _delay_of(self, share: float) -> int:
        if self._ordered_ns is None:
            self._ordered_ns = sorted(self._delays)
        return self._ordered_ns[int(share * (len(self._ordered_ns) - 1))] if self._ordered_ns else 0

    @property
    def delay_known(self) -> bool:
        return len(self._delays) == _TUNING.delays

    def forget(self) -> None:
        """Its clock or counter may start again from anywhere."""
        self.sequence = self.trigger_base = self.period_ns = None
        self._intervals.clear()
        self.pulse_times_ns.clear()
        self.pulses_off.clear()
        self._delays.clear()
        self._ordered_ns = None

    def _period_ns(self) -> float | None:
        """The mean interval, in which jitter and bursts cancel; the median where a pause disturbs the mean."""
        if len(self._intervals) < _TUNING.least_intervals:
            return None
        middle, average = median(self._intervals), fmean(self._intervals)
        if abs(average - middle) < _TUNING.even * middle:
            return average
        within = sum(interval < _TUNING.burst * average for interval in self._intervals)
        return average if 4 * within >= len(self._intervals) else middle
