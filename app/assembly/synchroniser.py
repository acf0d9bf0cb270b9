"""Frame sets from frames: at most one frame per camera around one moment.

Pure: frames and the time go in, closed sets come out. Cameras that run freely at the same rate have constant phases;
these are estimated and taken off before matching, so that jitter of nearly half a period is tolerated and the spread
of a set is the smallest that the phases allow. A set closes when every camera that can still deliver has delivered,
or at its deadline; then what comes is late. In a replay there is no deadline and nothing is skipped.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean, median

from app.assembly.phases import Phases
from app.run.policy import LivePolicy, Policy
from calibration.frames import Frame, FrameSet
from calibration.rig import SyncSettings

# Trigger pulses are this far apart in key, whatever the rate.
_PULSE = 1_000_000


@dataclass(frozen=True)
class SyncTuning:
    """How frames are matched by time; what is late or silent is the policy's.

    `first_period_ns`: the period until it is measured, that of most cameras, 30 Hz. `tolerance_periods`: frames of one
    set are at most so far apart where rig.yaml has no `tolerance_ms`; with half a period none can be of two sets.
    `least_step_periods`: a camera's next frame comes no earlier than so many of its periods after its last, so that a
    set that ends before need not wait for it; the rest is for jitter.
    """

    first_period_ns: int = 33_333_333
    tolerance_periods: float = 0.5
    least_step_periods: float = 0.85


@dataclass
class Counters:
    """`dropped` by policy or lost upstream, `late` after the set closed, `stale` older than the age limit."""

    frames: int = 0
    dropped: int = 0
    late: int = 0
    stale: int = 0


class _Lane:
    """What is known of one camera."""

    def __init__(self, live: bool) -> None:
        self.pending: deque[tuple[int, int, Frame]] = deque()
        self.counters = Counters()
        self.live = live
        self.sequence: int | None = None
        self.time_ns = 0
        self.arrival_ns = 0
        self.intervals: deque[float] = deque(maxlen=15)
        self.trigger_base: int | None = None
        self.last_key: int | None = None
        self.next_key: int | None = None
        self.member_key: int | None = None

    @property
    def period_ns(self) -> float | None:
        """The mean interval, in which jitter cancels; the median where a pause disturbs the mean."""
        if len(self.intervals) < 3:
            return None
        middle, average = median(self.intervals), fmean(self.intervals)
        return average if abs(average - middle) < 0.2 * middle else middle


class Synchroniser:
    """See the module. The period is that of the fastest camera, measured unless `settings.fps` gives it.

    `phases_ns` fixes the cameras' phases, so that a replay forms the same sets every time.
    """

    def __init__(
        self,
        camera_ids: Iterable[str],
        settings: SyncSettings,
        policy: Policy | None = None,
        phases_ns: Mapping[str, int] | None = None,
        tuning: SyncTuning | None = None,
    ) -> None:
        self._policy = policy or LivePolicy()
        self._lanes = {camera_id: _Lane(self._policy.waits_for_all) for camera_id in camera_ids}
        self._settings = settings
        self._tuning = tuning or SyncTuning()
        self._phases = Phases(self._lanes, phases_ns)
        self._index = 0
        self._closed_key: int | None = None

    @property
    def counters(self) -> dict[str, Counters]:
        return {camera_id: lane.counters for camera_id, lane in self._lanes.items()}

    @property
    def empty(self) -> bool:
        """No frame is waiting for its set to close."""
        return not any(lane.pending for lane in self._lanes.values())

    @property
    def period_ns(self) -> float:
        if self._settings.fps:
            return 1e9 / self._settings.fps
        periods = [lane.period_ns for lane in self._lanes.values() if lane.period_ns]
        return min(periods) if periods else self._tuning.first_period_ns

    @property
    def _key_period(self) -> float:
        return self.period_ns if self._settings.mode == "time" else _PULSE

    @property
    def _tolerance(self) -> float:
        """Greatest distance in key of a frame from the first of its set."""
        if self._settings.mode == "time" and self._settings.tolerance_ms is not None:
            return self._settings.tolerance_ms * 1e6
        return self._tuning.tolerance_periods * self._key_period

    @property
    def deadline_ns(self) -> float:
        """How long after its first frame's arrival a set waits for the others."""
        if self._settings.deadline_ms is not None:
            return self._settings.deadline_ms * 1e6
        return self._policy.deadline_periods * self.period_ns

    def starts(self, camera_id: str) -> None:
        """This camera delivers or is about to: sets wait for it."""
        self._lanes[camera_id].live = True

    def stops(self, camera_id: str) -> None:
        """This camera is lost or has ended: sets do not wait for it. Its counter may start again from anywhere."""
        lane = self._lanes[camera_id]
        lane.live = False
        lane.sequence = lane.trigger_base = None
        lane.intervals.clear()

    def announce(self, camera_id: str, capture_time_ns: int) -> None:
        """This camera's next frame is of that time: earlier sets need not wait for it (recordings only)."""
        lane = self._lanes[camera_id]
        lane.next_key = capture_time_ns - self._phases.offsets_ns[camera_id]

    def add(self, frame: Frame, now_ns: int) -> None:
        """Take a frame that arrived at `now_ns` (monotonic)."""
        lane = self._lanes[frame.camera_id]
        lane.live, lane.next_key = True, None
        lane.counters.frames += 1
        if lane.sequence is not None:
            gap = frame.sequence - lane.sequence
            if gap <= 0 or frame.capture_time_ns <= lane.time_ns:
                self.stops(frame.camera_id)
                lane.live = True
            else:
                lane.counters.dropped += gap - 1
                lane.intervals.append((frame.capture_time_ns - lane.time_ns) / gap)
        lane.sequence, lane.time_ns, lane.arrival_ns = frame.sequence, frame.capture_time_ns, now_ns
        key = lane.last_key = self._key(frame, lane)
        if not self._policy.waits_for_all and self._is_late(lane, key):
            lane.counters.late += 1
            return
        lane.pending.append((key, now_ns, frame))
        if len(lane.pending) > self._policy.max_pending:
            lane.pending.popleft()
            lane.counters.dropped += 1

    def _key(self, frame: Frame, lane: _Lane) -> int:
        """The frame's moment in nanoseconds, comparable between cameras."""
        period = self.period_ns
        if self._settings.mode == "time":
            self._phases.add(frame.camera_id, frame.capture_time_ns, period)
            return frame.capture_time_ns - self._phases.offsets_ns[frame.camera_id]
        if lane.trigger_base is None:
            pulse = round(frame.capture_time_ns / period)
            known = [
                other for other in self._lanes.values() if other.trigger_base is not None and other.sequence is not None
            ]
            if known:
                other = max(known, key=lambda lane: lane.time_ns)
                assert other.sequence is not None and other.trigger_base is not None
                since = round((frame.capture_time_ns - other.time_ns) / period)
                pulse = other.sequence - other.trigger_base + since
            lane.trigger_base = frame.sequence - pulse
        return (frame.sequence - lane.trigger_base) * _PULSE

    def _is_late(self, lane: _Lane, key: int) -> bool:
        """Whether the set that this frame belongs to has closed without it."""
        if self._closed_key is None:
            return False
        half = 0.5 * self._key_period
        in_last_set = lane.member_key is not None and lane.member_key > self._closed_key - half
        if in_last_set and lane.member_key is not None and key > lane.member_key + half:
            return False
        return key <= self._closed_key + self._tolerance

    def pop(self, now_ns: int) -> FrameSet | None:
        """The next closed set, or None while none can be closed at `now_ns` (monotonic)."""
        heads = {camera_id: lane.pending[0] for camera_id, lane in self._lanes.items() if lane.pending}
        if not heads:
            return None
        first_key = min(key for key, _, _ in heads.values())
        last_key = first_key + self._tolerance
        members = {camera_id: head for camera_id, head in heads.items() if head[0] <= last_key}
        waiting = [
            camera_id
            for camera_id, lane in self._lanes.items()
            if camera_id not in heads and self._may_deliver(lane, last_key, now_ns)
        ]
        if waiting and (
            self._policy.waits_for_all or now_ns < min(at for _, at, _ in members.values()) + self.deadline_ns
        ):
            return None
        return self._close(members, first_key, now_ns)

    def _may_deliver(self, lane: _Lane, last_key: float, now_ns: int) -> bool:
        """Whether this camera may still bring a frame of the set that ends at `last_key`."""
        if not lane.live or (lane.next_key is not None and lane.next_key > last_key):
            return False
        if self._policy.waits_for_all or lane.period_ns is None or lane.last_key is None:
            return True
        if now_ns - lane.arrival_ns > self._policy.silent_periods * lane.period_ns:
            return False
        least_step = self._tuning.least_step_periods * self._key_period * lane.period_ns / self.period_ns
        return lane.last_key + least_step <= last_key

    def _close(self, members: dict[str, tuple[int, int, Frame]], first_key: int, now_ns: int) -> FrameSet:
        for camera_id, (key, _, _) in members.items():
            self._lanes[camera_id].pending.popleft()
            self._lanes[camera_id].member_key = key
        self._closed_key = first_key
        frames = {camera_id: members[camera_id][2] for camera_id in self._lanes if camera_id in members}
        reference = round(median(frame.capture_time_ns for frame in frames.values()))
        if self._settings.mode == "trigger":
            # One pulse exposed them all: what their time stamps differ by is the drivers', not the hand's.
            frames = {camera_id: replace(frame, capture_time_ns=reference) for camera_id, frame in frames.items()}
        self._index += 1
        return FrameSet(self._index - 1, reference, frames, now_ns)

    def wait_ns(self, now_ns: int) -> int | None:
        """Nanoseconds until a pending set reaches its deadline; None where nothing is pending."""
        arrivals = [lane.pending[0][1] for lane in self._lanes.values() if lane.pending]
        if not arrivals or self._policy.waits_for_all:
            return None
        return max(0, round(min(arrivals) + self.deadline_ns) - now_ns)

    def discard(self, frame_set: FrameSet, camera_ids: Iterable[str] | None = None, stale: bool = False) -> None:
        """Count frames of a closed set that policy threw away: superseded by a newer set, or too old."""
        for camera_id in frame_set.frames if camera_ids is None else camera_ids:
            if stale:
                self._lanes[camera_id].counters.stale += 1
            else:
                self._lanes[camera_id].counters.dropped += 1
