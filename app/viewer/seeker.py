"""Finds the pictures of any set of a recording in its videos, in a thread, so that the window never waits for them."""

import functools
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.assembly.published_sets import published_of
from app.assembly.recorded_sets import Stamps, set_at, stamps_of
from app.sources.source import SourceError
from app.sources.video_frames import VideoFrames
from app.transport.messages import CameraReport, PoseSet
from app.transport.ring import SlotRef
from app.viewer.reduced import reduced
from calibration.camera_source import RecordedSource
from calibration.errors import UserError
from calibration.published_sets import PublishedSet
from calibration.rig import Rig, RigCamera
from calibration.session import read_session

log = logging.getLogger(__name__)

Place = int | PoseSet
"""A time on the recording's clock, or a set that is known and whose pictures are wanted."""


@dataclass(frozen=True)
class SoughtSet:
    """A set with its pictures at full size, without hands where only a time was given. `place` was asked for."""

    place: Place
    pose_set: PoseSet
    images: Mapping[SlotRef, np.ndarray]

    def image(self, slot: SlotRef, width: int) -> np.ndarray | None:
        """As a feed gives it."""
        image = self.images.get(slot)
        if image is None:
            return None
        return reduced(image, width, round(image.shape[0] * width / image.shape[1]))

    def poll(self) -> Sequence[PoseSet]:
        return ()


class Seeker:
    """Looks for what was asked for last; `found` gives it once."""

    def __init__(self, rig: Rig, phases_ns: Mapping[str, int] | None) -> None:
        self._rig, self._phases_ns = rig, phases_ns
        self._videos: dict[str, VideoFrames | None] = {}
        self._session_of = functools.cache(read_session)
        self._changed = threading.Condition()
        self._place: Place | None = None
        self._found: SoughtSet | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def seek(self, place: Place) -> None:
        with self._changed:
            self._place = place
            self._changed.notify()

    def found(self) -> SoughtSet | None:
        with self._changed:
            found, self._found = self._found, None
        return found

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._place is not None)
                place, self._place = self._place, None
            assert place is not None
            try:
                found = self.look_up(place)
            except UserError as error:
                log.warning("viewer: %s", error)
                continue
            with self._changed:
                self._found = found

    def look_up(self, place: Place) -> SoughtSet | None:
        """The set there, or that is nearest to a time; None where the recording has none near it. Raises UserError."""
        pose_set = self._bare_set(place) if isinstance(place, int) else place
        if pose_set is None:
            return None
        images = {}
        for camera_id, report in pose_set.cameras.items():
            if report.slot is not None and (image := self._picture(self._rig[camera_id], report.sequence)) is not None:
                images[report.slot] = image
        return SoughtSet(place, pose_set, images)

    def _bare_set(self, time_ns: int) -> PoseSet | None:
        found = set_at(self._rig, self._phases_ns, self._stamps, time_ns, self._published)
        if found is None:
            return None
        cameras = {}
        for number, (camera_id, frame) in enumerate(found.frames.items()):
            camera = self._rig[camera_id].camera
            slot = SlotRef(pid=1, fd=0, slot=number, ticket=0, height=camera.height, width=camera.width, slots=1)
            cameras[camera_id] = CameraReport(
                state="streaming", slot=slot, sequence=frame.sequence, capture_time_ns=frame.capture_time_ns
            )
        return PoseSet(
            set_index=0,
            reference_time_ns=found.reference_time_ns,
            spread_ns=found.spread_ns,
            hands=[],
            cameras=cameras,
            hops_ns={},
            stage_ms={},
            estimator="",
            rig_id=self._rig.rig_id,
        )

    @functools.cached_property
    def _stamps(self) -> dict[str, Stamps]:
        return {camera.camera_id: stamps_of(camera, self._session_of) for camera in self._rig.cameras}

    @functools.cached_property
    def _published(self) -> list[PublishedSet] | None:
        return published_of(self._rig)

    def _picture(self, camera: RigCamera, number: int) -> np.ndarray | None:
        """Upright, (H, W, 3) BGR; None of one that cannot be decoded."""
        video = self._video(camera)
        image = None if video is None else video.picture_at(number)
        return camera.turn.upright(image) if image is not None and camera.turn else image

    def _video(self, camera: RigCamera) -> VideoFrames | None:
        name = camera.camera_id
        if name not in self._videos:
            self._videos[name] = None
            assert isinstance(camera.source, RecordedSource)
            session = self._session_of(Path(camera.source.session))
            times_ns = session.frame_times_ns(camera.source.camera)
            try:
                self._videos[name] = VideoFrames(session.video_path(camera.source.camera), len(times_ns))
            except SourceError as error:
                log.warning("viewer: %s", error)
        return self._videos[name]
