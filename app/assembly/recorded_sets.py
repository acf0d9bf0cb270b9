"""The frame sets of a recorded session, one after another: each frame is decoded once, and none is kept."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median

import cv2

from app.assembly.synchroniser import Synchroniser
from app.run.policy import ReplayPolicy
from calibration.frames import Frame, FrameSet
from calibration.rig import Rig, RigCamera
from calibration.session import Session


def recorded_sets(session: Session, rig: Rig, phases_ns: Mapping[str, int] | None) -> Iterator[FrameSet]:
    """The same sets as a replay forms, in order of time. A frame that cannot be decoded ends its camera's video."""
    synchroniser = Synchroniser(rig.camera_ids, rig.sync, ReplayPolicy(), phases_ns)
    videos = [_frames(session, camera, synchroniser) for camera in rig.cameras]
    for frame in heapq.merge(*videos, key=lambda frame: frame.capture_time_ns):
        synchroniser.add(frame, 0)
        while (frame_set := synchroniser.pop(0)) is not None:
            yield frame_set
    while (frame_set := synchroniser.pop(0)) is not None:
        yield frame_set


def _frames(session: Session, camera: RigCamera, synchroniser: Synchroniser) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(session.video_path(camera.camera_id)), cv2.CAP_FFMPEG)
    try:
        for number, time_ns in enumerate(session.frame_times_ns(camera.camera_id)):
            whole, image = capture.read()
            if not whole:
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
        capture.release()
        synchroniser.stops(camera.camera_id)


def without_camera(frame_set: FrameSet, camera_id: str) -> FrameSet:
    """The set as it were without that camera."""
    if camera_id not in frame_set.frames:
        return frame_set
    frames = {name: frame for name, frame in frame_set.frames.items() if name != camera_id}
    if not frames:
        return replace(frame_set, frames=frames)
    reference_ns = round(median(frame.capture_time_ns for frame in frames.values()))
    return replace(frame_set, frames=frames, reference_time_ns=reference_ns)
