"""A recorded session as a rig and as frame sets, one after another: each frame is decoded once, and none is kept."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from app.assembly.phases import recorded_phases
from app.assembly.published_sets import PublishedSets, make_synchroniser
from app.assembly.synchroniser import Synchroniser
from app.run.policy import ReplayPolicy
from calibration.camera_source import RecordedSource
from calibration.frames import Frame, FrameSet
from calibration.played_frames import played_frames
from calibration.published_sets import PublishedSet
from calibration.recorded_period import recorded_period_ns
from calibration.rig import Rig, RigCamera, SyncSettings
from calibration.session import Session, read_session

# A set is formed with what lies so far around it.
_REACH_NS = 1_000_000_000


def recorded_rig(session: Session) -> Rig:
    """The session's rig with its recorded cameras as sources, matched by time at the recording's rate."""
    path = str(session.path.resolve())
    cameras = tuple(
        replace(session.recorded_camera(camera_id), source=RecordedSource(session=path, camera=camera_id), remote=False)
        for camera_id in session.camera_ids
    )
    period_ns = recorded_period_ns([session.frame_times_ns(camera_id) for camera_id in session.camera_ids])
    fps = 1e9 / period_ns if period_ns else None
    sync = SyncSettings("time", fps, session.rig.sync.tolerance_ms, session.rig.sync.deadline_ms)
    return replace(session.rig, cameras=cameras, sync=sync)


def recorded_phases_of(session: Session, rig: Rig) -> dict[str, int] | None:
    """What to take off each camera's times, besides its time offset, to match frames; None where the rate is unknown.

    Time offsets regroup frames by whole periods only: the estimator bridges the rest, and a set keeps the frames that
    were recorded together.
    """
    if rig.sync.fps is None:
        return None
    period_ns = 1e9 / rig.sync.fps
    times_ns = {camera_id: session.frame_times_ns(camera_id) for camera_id in session.camera_ids}
    phases_ns = recorded_phases(times_ns, period_ns)
    for camera in rig.cameras:
        periods = round(camera.time_offset_ns / period_ns)
        phases_ns[camera.camera_id] += round(periods * period_ns) - camera.time_offset_ns
    return phases_ns


def recorded_sets(session: Session, rig: Rig, phases_ns: Mapping[str, int] | None) -> Iterator[FrameSet]:
    """The same sets as a replay forms, in order of time. A frame that cannot be decoded ends its camera's video."""
    synchroniser = make_synchroniser(rig, ReplayPolicy(), phases_ns)
    videos = [_frames(session, camera, synchroniser) for camera in rig.cameras]
    for frame in heapq.merge(*videos, key=lambda frame: frame.capture_time_ns):
        synchroniser.add(frame, 0)
        while (frame_set := synchroniser.pop(0)) is not None:
            yield frame_set
    while (frame_set := synchroniser.pop(0)) is not None:
        yield frame_set


def _frames(session: Session, camera: RigCamera, synchroniser: Synchroniser | PublishedSets) -> Iterator[Frame]:
    video = session.open_video(camera.camera_id)
    try:
        times_ns = session.frame_times_ns(camera.camera_id)
        played = (
            frozenset(played_frames(camera.source, times_ns)) if isinstance(camera.source, RecordedSource) else None
        )
        for number, time_ns in enumerate(times_ns):
            if not video.grab():
                break
            if played is not None and number not in played:
                continue
            image = video.retrieve()
            if image is None:
                break
            yield Frame(
                camera_id=camera.camera_id,
                sequence=number,
                capture_time_ns=int(time_ns) - camera.time_offset_ns,
                grab_time_ns=0,
                publish_time_ns=0,
                pixels=image,
            )
    finally:
        video.close()
        synchroniser.stops(camera.camera_id)


class Stamps(NamedTuple):
    """Of a recorded camera's frames that are played: their numbers in the video (n,), and their times (n,) on the
    recording's clock, with the camera's `time_offset` taken off."""

    numbers: np.ndarray
    times_ns: np.ndarray


def stamps_of(camera: RigCamera, session_of: Callable[[Path], Session] = read_session) -> Stamps:
    """Of several cameras of a session, `session_of` keeps what was read of it. Raises UserError."""
    assert isinstance(camera.source, RecordedSource)
    times_ns = session_of(Path(camera.source.session)).frame_times_ns(camera.source.camera)
    numbers = played_frames(camera.source, times_ns)
    return Stamps(numbers, times_ns[numbers] - camera.time_offset_ns)


def set_at(
    rig: Rig,
    phases_ns: Mapping[str, int] | None,
    stamps: Mapping[str, Stamps],
    time_ns: int,
    published: Sequence[PublishedSet] | None = None,
) -> FrameSet | None:
    """The set of a replay that is nearest to a time, without pixels; None where there is none within a second."""
    reach_ns = _REACH_NS
    if published is None:
        synchroniser = Synchroniser(rig.camera_ids, rig.sync, ReplayPolicy(), phases_ns)
    else:
        # Whole sets, whose times have their cameras' offsets still in them.
        reach_ns = 2 * _REACH_NS + max(abs(camera.time_offset_ns) for camera in rig.cameras)
        near = [each for each in published if abs(min(each.times_ns.values()) - time_ns) <= reach_ns]
        synchroniser = PublishedSets(near, rig)
    frames = [
        _bare_frame(camera_id, int(number), int(at_ns))
        for camera_id, of in stamps.items()
        for number, at_ns in zip(*_within(of, time_ns, reach_ns), strict=True)
    ]
    for frame in sorted(frames, key=lambda frame: frame.capture_time_ns):
        synchroniser.add(frame, 0)
    sets = []
    for camera_id in stamps:
        synchroniser.stops(camera_id)
    while (frame_set := synchroniser.pop(0)) is not None:
        sets.append(frame_set)
    nearest = min(sets, key=lambda each: abs(each.reference_time_ns - time_ns), default=None)
    return nearest if nearest is not None and abs(nearest.reference_time_ns - time_ns) <= _REACH_NS else None


def _within(stamps: Stamps, time_ns: int, reach_ns: int) -> tuple[np.ndarray, np.ndarray]:
    begin, end = np.searchsorted(stamps.times_ns, (time_ns - reach_ns, time_ns + reach_ns))
    return stamps.numbers[begin:end], stamps.times_ns[begin:end]


def _bare_frame(camera_id: str, number: int, time_ns: int) -> Frame:
    return Frame(
        camera_id=camera_id,
        sequence=number,
        capture_time_ns=time_ns,
        grab_time_ns=0,
        publish_time_ns=0,
        pixels=np.empty((0, 0, 3), np.uint8),
    )


def without_camera(frame_set: FrameSet, camera_id: str) -> FrameSet:
    """The set as it were without that camera."""
    if camera_id not in frame_set.frames:
        return frame_set
    left = frame_set.without([camera_id])
    if not left.frames:
        return left
    return replace(left, reference_time_ns=round(median(frame.capture_time_ns for frame in left.frames.values())))
