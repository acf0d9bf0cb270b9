"""The sets that a live run estimated while it was recorded, formed again from the recording."""

from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from app.assembly.lane import Counters
from app.assembly.synchroniser import Synchroniser
from app.run.policy import Policy
from calibration.camera_source import RecordedSource
from calibration.frames import Frame, FrameSet
from calibration.published_sets import PublishedSet, read_published_sets
from calibration.rig import Rig


def make_synchroniser(rig: Rig, policy: Policy, phases_ns: Mapping[str, int] | None) -> "Synchroniser | PublishedSets":
    """What makes sets of the rig's frames. Raises UserError where a recording's own sets are wanted and it has none."""
    published = published_of(rig)
    return (
        Synchroniser(rig.camera_ids, rig.sync, policy, phases_ns)
        if published is None
        else PublishedSets(published, rig)
    )


def published_of(rig: Rig) -> list[PublishedSet] | None:
    """The recording's own sets, where these are wanted. Raises UserError where it has none."""
    source = rig.cameras[0].source
    if not (isinstance(source, RecordedSource) and source.published):
        return None
    return read_published_sets(Path(source.session))


class PublishedSets:
    """Stands where a replay's `Synchroniser` does. Every frame that is added is of one of the sets."""

    notes: Mapping[str, str] = {}

    def __init__(self, sets: Iterable[PublishedSet], rig: Rig) -> None:
        offsets_ns = {camera.camera_id: camera.time_offset_ns for camera in rig.cameras}
        self._due = deque(
            PublishedSet(each.index, {c: t - offsets_ns[c] for c, t in each.times_ns.items() if c in offsets_ns})
            for each in sets
        )
        self.counters = {camera_id: Counters() for camera_id in rig.camera_ids}
        self._pending: dict[str, deque[Frame]] = {camera_id: deque() for camera_id in rig.camera_ids}
        self._live = dict.fromkeys(rig.camera_ids, True)

    @property
    def empty(self) -> bool:
        return not any(self._pending.values())

    def starts(self, camera_id: str) -> None:
        self._live[camera_id] = True

    def stops(self, camera_id: str) -> None:
        self._live[camera_id] = False

    def announce(self, camera_id: str, capture_time_ns: int) -> None:
        """Which frames a set has is known: none is waited for in vain."""

    def add(self, frame: Frame, now_ns: int) -> None:
        self._live[frame.camera_id] = True
        self.counters[frame.camera_id].frames += 1
        self._pending[frame.camera_id].append(frame)

    def pop(self, now_ns: int) -> FrameSet | None:
        """The next set, when each of its frames has come or can come no more."""
        while self._due:
            due = self._due[0]
            if any(self._may_come(camera_id, time_ns) for camera_id, time_ns in due.times_ns.items()):
                return None
            self._due.popleft()
            frames = {c: self._pending[c].popleft() for c, t in due.times_ns.items() if self._has(c, t)}
            if frames:
                reference_ns = round(median(frame.capture_time_ns for frame in frames.values()))
                return FrameSet(due.index, reference_ns, frames, now_ns)
        return None

    def _has(self, camera_id: str, time_ns: int) -> bool:
        pending = self._pending[camera_id]
        return bool(pending) and pending[0].capture_time_ns == time_ns

    def _may_come(self, camera_id: str, time_ns: int) -> bool:
        pending = self._pending[camera_id]
        while pending and pending[0].capture_time_ns < time_ns:
            pending.popleft()
        return self._live[camera_id] and not pending

    def wait_ns(self, now_ns: int) -> int | None:
        return None

    def discard(self, frame_set: FrameSet, camera_ids: Iterable[str] | None = None, stale: bool = False) -> None:
        """A replay discards nothing."""
