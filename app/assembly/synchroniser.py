"""Frame sets from frames: at most one frame per camera around one moment.

Pure: frames and the time go in, closed sets come out. Cameras that run freely at the same rate have constant phases;
these are estimated and taken off before matching, so that jitter of nearly half a period is tolerated and the spread
of a set is the smallest that the phases allow. The cameras at the sets' rate make a set's moment, and each frame of
another rate joins the set that is nearest. A set closes when every camera that can still deliver has delivered,
or at its deadline; then what comes is late. In a replay there is no deadline and nothing is skipped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import copysign
from statistics import median

from app.assembly.lane import Counters, Lane, Pending
from app.assembly.phases import Phases
from app.assembly.time_notes import longest_wait_ms, time_notes
from app.run.policy import LivePolicy, Policy
from calibration.frames import Frame, FrameSet
from calibration.rig import SyncSettings

# Trigger pulses are this far apart in key, whatever the rate.
_PULSE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class SyncTuning:
    """How frames are matched by time; what is late or silent is the policy's.

    `first_period_ns`: the period until it is measured, that of most cameras, 30 Hz. `tolerance_periods`: frames of one
    set are at most so far apart where rig.yaml has no `tolerance_ms`; with half a period none can be of two sets.
    `least_step_periods`: a camera's next frame comes no earlier than so many of its periods after its last, so that a
    set that ends before need not wait for it; the rest is for jitter. `same_rate`: periods that differ by a smaller
    share are one rate. `fastest_period_ns`: no camera is faster than 500 Hz, whatever its time stamps say.
    `most_pulse_error_ns`: a counter that differs by more from what the time says has jumped: half a second is more than
    any driver delays a frame. `most_pulses_off`: a camera whose frames lie farther from the others' of the same pulses,
    in the median, counts pulses wrongly, as after a first frame that was delayed; constant delays of up to half a
    period are left.
    """

    first_period_ns: int = 33_333_333
    tolerance_periods: float = 0.5
    least_step_periods: float = 0.85
    same_rate: float = 0.1
    fastest_period_ns: int = 2_000_000
    most_pulse_error_ns: int = 500_000_000
    most_pulses_off: float = 0.6


class Synchroniser:
    """See the module. The sets' period is that of the second fastest camera, as a hand needs two views: measured, or
    that of `settings.fps` where the cameras do not contradict it.

    `phases_ns` fixes the cameras' phases, so that a replay forms the same sets every time; it goes by `settings.fps`.
    `notes` says of a camera what the user should know of its times.
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
        self._lanes = {camera_id: Lane(self._policy.waits_for_all) for camera_id in camera_ids}
        self._settings = settings
        self._tuning = tuning or SyncTuning()
        self._phases = Phases(self._lanes, phases_ns)
        self._index = 0
        self._closed_key: int | None = None
        self._last_pulse: tuple[int, int] | None = None
        self._deadline_ns: float = 0.0
        self.period_ns: float = 1e9 / settings.fps if settings.fps else self._tuning.first_period_ns

    @property
    def counters(self) -> dict[str, Counters]:
        return {camera_id: lane.counters for camera_id, lane in self._lanes.items()}

    @property
    def notes(self) -> dict[str, str]:
        if self._policy.waits_for_all or self._settings.mode == "trigger":
            return {}
        return time_notes(self._lanes, self._settings, self._policy, self._same_rate)

    @property
    def empty(self) -> bool:
        """No frame is waiting for its set to close."""
        return not any(lane.pending for lane in self._lanes.values())

    @property
    def _key_period(self) -> float:
        return self.period_ns if self._settings.mode == "time" else _PULSE

    @property
    def _tolerance(self) -> float:
        """Greatest distance in key of a frame from the first of its set."""
        if self._settings.mode == "time" and self._settings.tolerance_ms is not None:
            return self._settings.tolerance_ms * 1e6
        return self._tuning.tolerance_periods * self._key_period

    def starts(self, camera_id: str) -> None:
        """This camera delivers or is about to: sets wait for it."""
        self._lanes[camera_id].live = True

    def stops(self, camera_id: str) -> None:
        """This camera is lost or has ended: sets do not wait for it. Its counter may start again from anywhere."""
        self._lanes[camera_id].live = False
        self._lanes[camera_id].forget()
        self._phases.renew(camera_id)

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
            gap, step_ns = frame.sequence - lane.sequence, frame.capture_time_ns - lane.time_ns
            if gap <= 0 or step_ns <= 0 or step_ns < (gap - 1) * self._tuning.fastest_period_ns:
                self.stops(frame.camera_id)
                lane.live = True
            else:
                lane.counters.dropped += gap - 1
                lane.add_interval(step_ns / gap)
                self._measure_period()
        key = self._key(frame, lane)
        lane.sequence, lane.time_ns, lane.arrival_ns, lane.last_key = frame.sequence, frame.capture_time_ns, now_ns, key
        if not self._policy.waits_for_all:
            if self._settings.mode == "time":
                lane.add_delay(now_ns - key)
            if self._is_late(lane, key):
                lane.counters.late += 1
                return
        lane.pending.append(Pending(key, now_ns, frame))
        if len(lane.pending) > self._policy.max_pending:
            lane.pending.popleft()
            lane.counters.dropped += 1

    def _measure_period(self) -> None:
        """Of time stamps of a camera that are nonsense another camera's are none: no single one decides."""
        given_ns = 1e9 / self._settings.fps if self._settings.fps else None
        if given_ns and self._policy.waits_for_all:
            return
        periods = sorted(lane.period_ns for lane in self._lanes.values() if lane.period_ns)
        if not periods:
            return
        period_ns = max(periods[: 1 if self._policy.waits_for_all else 2][-1], self._tuning.fastest_period_ns)
        self.period_ns = given_ns if given_ns and self._same_rate(period_ns, given_ns) else period_ns

    def _same_rate(self, period_ns: float, other_ns: float) -> bool:
        return abs(period_ns - other_ns) < self._tuning.same_rate * other_ns

    def _sets_pace(self, lane: Lane) -> bool:
        """Whether its frames make a set's moment: a camera at the sets' rate."""
        if self._policy.waits_for_all or self._settings.mode == "trigger" or lane.period_ns is None:
            return True
        return self._same_rate(lane.period_ns, self.period_ns)

    def _key(self, frame: Frame, lane: Lane) -> int:
        """The frame's moment in nanoseconds, comparable between cameras."""
        if self._settings.mode == "time":
            self._phases.add(frame.camera_id, frame.capture_time_ns, self.period_ns)
            return frame.capture_time_ns - self._phases.offsets_ns[frame.camera_id]
        by_time = self._pulse_by_time(frame, lane)
        if lane.trigger_base is None:
            lane.trigger_base = frame.sequence - (self._pulse_after_all(frame) if by_time is None else by_time)
        elif by_time is not None:
            off_ns = abs(frame.sequence - lane.trigger_base - by_time) * self.period_ns
            if off_ns > max(self._tuning.most_pulse_error_ns, 5 * self.period_ns):
                # Its counter jumped: as it stands, the frame would lie far from every other's.
                lane.trigger_base = frame.sequence - by_time
        lane.trigger_base -= self._pulses_off(frame, lane)
        pulse = frame.sequence - lane.trigger_base
        lane.keep_pulse(pulse, frame.capture_time_ns)
        self._last_pulse = max(self._last_pulse or (pulse, 0), (pulse, frame.capture_time_ns))
        return pulse * _PULSE

    def _pulse_after_all(self, frame: Frame) -> int:
        """The number of a frame's pulse where no other camera's counter tells: after those before a pause of all."""
        if self._last_pulse is None:
            return round(frame.capture_time_ns / self.period_ns)
        pulse, time_ns = self._last_pulse
        return pulse + max(1, round((frame.capture_time_ns - time_ns) / self.period_ns))

    def _pulses_off(self, frame: Frame, lane: Lane) -> int:
        """By how many pulses this camera's count is behind the others', as its frames' times have long said.

        One at a time where pulses come unevenly, as what a number of them lasts is not known there.
        """
        assert lane.trigger_base is not None
        pulse = frame.sequence - lane.trigger_base
        for other in self._lanes.values():
            if other is not lane and pulse in other.pulse_times_ns:
                off = (frame.capture_time_ns - other.pulse_times_ns[pulse]) / self.period_ns
                lane.pulses_off.append(off)
                other.pulses_off.append(-off)
        off = lane.usual_pulses_off
        if abs(off) <= self._tuning.most_pulses_off:
            return 0
        is_even = max(lane.pulses_off) - min(lane.pulses_off) < 1
        lane.pulse_times_ns.clear()
        for each in self._lanes.values():
            each.pulses_off.clear()
        return round(off) if is_even else round(copysign(1, off))

    def _pulse_by_time(self, frame: Frame, lane: Lane) -> int | None:
        """The number of the frame's pulse as another camera's counter and the time since say; None for the first."""
        known = [
            other
            for other in self._lanes.values()
            if other is not lane and other.trigger_base is not None and other.sequence is not None
        ]
        if not known:
            return None
        other = max(known, key=lambda lane: lane.time_ns)
        assert other.sequence is not None and other.trigger_base is not None
        return other.sequence - other.trigger_base + round((frame.capture_time_ns - other.time_ns) / self.period_ns)

    def _is_late(self, lane: Lane, key: int) -> bool:
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
        self._drop_surplus()
        heads = {camera_id: lane.pending[0].key for camera_id, lane in self._lanes.items() if lane.pending}
        if not heads:
            return None
        tolerance = self._tolerance
        first_key = min(heads.values())
        paced = [key for camera_id, key in heads.items() if self._sets_pace(self._lanes[camera_id])]
        centre = first_key
        if paced and min(paced) - first_key <= tolerance:
            first_key = min(paced)
            centre = median(key for key in paced if key <= first_key + tolerance)
        last_keys = {
            camera_id: first_key + tolerance if self._sets_pace(lane) else centre + tolerance
            for camera_id, lane in self._lanes.items()
        }
        members = {camera_id: self._nearest(camera_id, centre, last_keys[camera_id]) for camera_id in heads}
        members = {camera_id: member for camera_id, member in members.items() if member is not None}
        first_ns = min(member.arrival_ns for member in members.values())
        longest_ns = first_ns + longest_wait_ms(self._settings, self._policy) * 1e6
        waiting = [
            lane
            for camera_id, lane in self._lanes.items()
            if camera_id not in heads
            and self._may_deliver(lane, last_keys[camera_id], now_ns)
            and not (lane.delay_known and centre + lane.least_delay_ns > longest_ns)
        ]
        if waiting:
            self._deadline_ns = self._deadline_of(first_ns, longest_ns, centre, waiting)
            if now_ns < self._deadline_ns:
                return None
        return self._close(members, first_key, now_ns)

    def _nearest(self, camera_id: str, centre: float, last_key: float) -> Pending | None:
        """The camera's frame for the set around `centre`: of a faster one the nearest, and those before are dropped."""
        lane = self._lanes[camera_id]
        if lane.pending[0].key > last_key:
            return None
        while (
            len(lane.pending) > 1
            and not self._sets_pace(lane)
            and lane.pending[1].key <= last_key
            and abs(lane.pending[1].key - centre) <= abs(lane.pending[0].key - centre)
        ):
            lane.pending.popleft()
            lane.counters.dropped += 1
        return lane.pending[0]

    def _drop_surplus(self) -> None:
        """Frames that came beside one of the same camera that the last set has: of a faster camera, or of a burst."""
        if self._closed_key is None or self._policy.waits_for_all:
            return
        half = 0.5 * self._key_period
        for lane in self._lanes.values():
            if lane.member_key is None or lane.member_key < self._closed_key - half:
                continue
            until = lane.member_key + half if self._sets_pace(lane) else self._closed_key + self._tolerance
            while lane.pending and lane.pending[0].key <= until:
                lane.pending.popleft()
                lane.counters.dropped += 1

    def _deadline_of(self, first_ns: int, longest_ns: float, centre: float, waiting: Iterable[Lane]) -> float:
        """Until when a set waits: for each camera until its frame is due by its usual delay, and half a period more."""
        if self._policy.waits_for_all or self._settings.deadline_ms is not None:
            return longest_ns
        usual_ns = first_ns + self._policy.deadline_periods * self.period_ns
        if self._settings.mode == "trigger":
            return usual_ns
        due_ns = centre + max(lane.delay_ns for lane in waiting) + 0.5 * self.period_ns
        return max(usual_ns, min(due_ns, longest_ns))

    def _may_deliver(self, lane: Lane, last_key: float, now_ns: int) -> bool:
        """Whether this camera may still bring a frame of the set that ends at `last_key`."""
        if not lane.live or (lane.next_key is not None and lane.next_key > last_key):
            return False
        if self._policy.waits_for_all or lane.period_ns is None or lane.last_key is None:
            return True
        if now_ns - lane.arrival_ns > self._policy.silent_periods * lane.period_ns:
            return False
        least_step = self._tuning.least_step_periods * self._key_period * lane.period_ns / self.period_ns
        return lane.last_key + least_step <= last_key

    def _close(self, members: dict[str, Pending], first_key: int, now_ns: int) -> FrameSet:
        for camera_id, member in members.items():
            self._lanes[camera_id].pending.popleft()
            self._lanes[camera_id].member_key = member.key
        self._closed_key = first_key
        frames = {camera_id: members[camera_id].frame for camera_id in self._lanes if camera_id in members}
        reference = round(median(frame.capture_time_ns for frame in frames.values()))
        if self._settings.mode == "trigger":
            # One pulse exposed them all: what their time stamps differ by is the drivers', not the hand's.
            frames = {camera_id: replace(frame, capture_time_ns=reference) for camera_id, frame in frames.items()}
        self._index += 1
        return FrameSet(self._index - 1, reference, frames, now_ns)

    def wait_ns(self, now_ns: int) -> int | None:
        """Nanoseconds until the set that `pop` left open reaches its deadline; None where nothing is pending."""
        if self.empty or self._policy.waits_for_all:
            return None
        return max(0, round(self._deadline_ns) - now_ns)

    def discard(self, frame_set: FrameSet, camera_ids: Iterable[str] | None = None, stale: bool = False) -> None:
        """Count frames of a closed set that policy threw away: superseded by a newer set, or too old."""
        for camera_id in frame_set.frames if camera_ids is None else camera_ids:
            if stale:
                self._lanes[camera_id].counters.stale += 1
            else:
                self._lanes[camera_id].counters.dropped += 1
