"""The people in each camera's images: searched for in whole images now and then, and followed in between.

A look has two parts, so that the networks can run in another thread: `take` copies what is needed out of a frame set's
pixels, `read` runs the networks on it.
"""

from dataclasses import dataclass

import numpy as np

from app.estimators.body.body_crop import CROP_PX, cut
from app.estimators.body.body_landmarks import BodyView, read_bodies
from app.estimators.body.body_search import SEARCH_PX, SearchImage, find_bodies, search_image
from app.estimators.body.settings import BODY, BodySettings
from app.estimators.detectors.hand_crop import HandCrop
from calibration.frames import FrameSet
from deploy.image_engines import load_image_network
from models.weights import mediapipe_model


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What is looked at of a frame set: pictures of the crops of each camera's people, and whole images, small."""

    time_ns: int
    camera_ids: list[str]
    crops: list[tuple[str, HandCrop, np.ndarray]]
    searched: dict[str, SearchImage]


@dataclass(frozen=True, kw_only=True, eq=False)
class BodiesSeen:
    """The people of one look, by camera."""

    time_ns: int
    bodies: dict[str, list[BodyView]]


class BodyViews:
    """MediaPipe's pose networks on an engine of deploy.image_engines. Raises UserError where none is installed."""

    def __init__(self, engine: str = "auto", settings: BodySettings = BODY) -> None:
        self.settings = settings
        self._detection = load_image_network(mediapipe_model("pose_detection"), (SEARCH_PX, SEARCH_PX, 3), engine)
        self._landmarks = load_image_network(mediapipe_model("pose_landmark"), (CROP_PX, CROP_PX, 3), engine)
        self._crops: dict[str, list[HandCrop]] = {}
        self._searched_ns: dict[str, int] = {}

    def take(self, frame_set: FrameSet) -> Look:
        """Of each camera whose pixels were not overwritten meanwhile."""
        now_ns = frame_set.reference_time_ns
        crops: list[tuple[str, HandCrop, np.ndarray]] = []
        searched: dict[str, SearchImage] = {}
        camera_ids = []
        for camera_id, frame in frame_set.frames.items():
            followed = [(camera_id, crop, cut(crop, frame.pixels)) for crop in self._crops.get(camera_id, [])]
            search = search_image(frame.pixels) if self._is_due(camera_id, now_ns) else None
            if not frame.intact():
                continue
            camera_ids.append(camera_id)
            crops += followed
            if search is not None:
                searched[camera_id], self._searched_ns[camera_id] = search, now_ns
        return Look(time_ns=now_ns, camera_ids=camera_ids, crops=crops, searched=searched)

    def read(self, look: Look) -> BodiesSeen:
        """The people in the crops; those who were found in whole images are seen from the next look on."""
        found = find_bodies(self._detection, list(look.searched.values()), self.settings.most_bodies)
        read = read_bodies(self._landmarks, [crop for _, crop, _ in look.crops], [cut for _, _, cut in look.crops])
        bodies: dict[str, list[BodyView]] = {camera_id: [] for camera_id in look.camera_ids}
        for (camera_id, _, _), body in zip(look.crops, read, strict=True):
            if body is not None and body.presence >= self.settings.least_presence:
                bodies[camera_id].append(body)
        bodies = {camera_id: self._without_doubles(of_view) for camera_id, of_view in bodies.items()}
        for camera_id, of_view in bodies.items():
            self._crops[camera_id] = [body.next_crop for body in of_view]
        for camera_id, crops in zip(look.searched, found, strict=True):
            followed = self._crops[camera_id]
            new = [crop for crop in crops if not any(self._same(crop, other) for other in followed)]
            self._crops[camera_id] = (followed + new)[: self.settings.most_bodies]
        return BodiesSeen(time_ns=look.time_ns, bodies=bodies)

    def close(self) -> None:
        self._detection.close()
        self._landmarks.close()

    def _is_due(self, camera_id: str, now_ns: int) -> bool:
        if not self._crops.get(camera_id):
            return True
        return now_ns - self._searched_ns.get(camera_id, 0) >= self.settings.search_s * 1e9

    def _without_doubles(self, bodies: list[BodyView]) -> list[BodyView]:
        """Crops that drifted onto one person are one."""
        kept: list[BodyView] = []
        for body in sorted(bodies, key=lambda each: -each.presence):
            if not any(self._same(body.next_crop, other.next_crop) for other in kept):
                kept.append(body)
        return kept

    def _same(self, crop: HandCrop, other: HandCrop) -> bool:
        apart = float(np.linalg.norm(crop.centre_px - other.centre_px))
        return apart < self.settings.same_body * max(crop.side_px, other.side_px)
