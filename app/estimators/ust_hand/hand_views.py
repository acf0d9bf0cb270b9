"""A hand's crops in the views of one frame set, and how well keypoints found in them agree."""

from dataclasses import dataclass, field
from typing import NamedTuple, Self

import cv2
import numpy as np

from app.estimators.settings import JudgeSettings, ViewChoiceSettings
from app.estimators.ust_hand.view_choice import SeenIn, best_views
from calibration.frames import Frame, FrameSet
from calibration.rig import Rig, RigCamera
from calibration.triangulation import Observations
from deploy.batches import CropBatch
from models.hand.crop import Crop, hand_turn, make_crop, to_pixels
from models.hand.crop_light import well_lit
from models.hand.seen_points import crop_observations
from models.hand.upright import is_in_front, make_upright_crop

_NEAREST_M = 0.05


@dataclass(kw_only=True)
class HandViews:
    """The views (V) that look at one hand: their cameras, crops and P_crop (V, 3, 4).

    `target_world_m` is where the crops' hand-centred zero lies; `P_crop` takes the motion between the set's time and
    each view's own capture time into account. The pixels are in the batch that they were drawn into.
    """

    target_world_m: np.ndarray = field(default_factory=lambda: np.zeros(3))
    mirror: bool = False
    cameras: list[RigCamera] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)
    P_crop: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def look(
        cls,
        rig: Rig,
        frame_set: FrameSet,
        target_world_m: np.ndarray,
        velocity_m_s: np.ndarray,
        half_width_m: float,
        mirror: bool,
        into: CropBatch,
        joints_world_m: np.ndarray | None = None,
        seen_in: SeenIn | None = None,
    ) -> Self:
        """Crops around a target (3,) that moves with `velocity_m_s` (3,), where it is in the image.

        They show a box of `half_width_m` or, where the hand's joints (21, 3) are given, the upright square around them.
        They become the first views of `into`, one hand's arrays (V, ...); its other views become absent. Where more
        views see the target than there is room for, the best are taken: of `seen_in`, what each showed lately.
        """
        views = cls(target_world_m=target_world_m, mirror=mirror)
        size_px = into.crops_rgb.shape[1]
        into.view_mask[:] = False
        for camera, frame in _that_see(rig, frame_set, target_world_m, joints_world_m, half_width_m, into, seen_in):
            if joints_world_m is None:
                crop = make_crop(camera, target_world_m, half_width_m, size_px, mirror=mirror)
            else:
                crop = make_upright_crop(camera, target_world_m, joints_world_m, size_px, mirror=mirror)
            at = len(views.cameras)
            pixels = well_lit(crop.image(frame.pixels, into.crops_rgb[at]))
            if not frame.intact():
                continue
            moved_m = views.turn @ velocity_m_s * (frame.capture_time_ns - frame_set.reference_time_ns) * 1e-9
            P_crop = crop.P_crop.copy()
            P_crop[:, 3] += P_crop[:, :3] @ moved_m
            cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, into.crops_rgb[at])
            into.P_crop[at] = P_crop
            into.view_mask[at] = True
            views.cameras.append(camera)
            views.crops.append(crop)
            views.P_crop.append(P_crop)
        return views

    def only(self, numbers: np.ndarray) -> "HandViews":
        """The views of those numbers (n,) alone."""
        return HandViews(
            target_world_m=self.target_world_m,
            mirror=self.mirror,
            cameras=[self.cameras[number] for number in numbers],
            crops=[self.crops[number] for number in numbers],
            P_crop=[self.P_crop[number] for number in numbers],
        )

    @property
    def turn(self) -> np.ndarray:
        """(3, 3): world directions to hand-centred ones and, being its own inverse, back."""
        return hand_turn(self.mirror)

    def to_hand_m(self, points_world_m: np.ndarray) -> np.ndarray:
        """World metres (..., 3) to the hand-centred, mirrored where the hand is, metres of P_crop."""
        return (points_world_m - self.target_world_m) @ self.turn

    def to_world_m(self, points_hand_m: np.ndarray) -> np.ndarray:
        return points_hand_m @ self.turn + self.target_world_m

    def crop_distance(self, keypoints_px: np.ndarray, joints_world_m: np.ndarray) -> np.ndarray:
        """Distances (V, J) in crop pixels between keypoints (V, J, 2) and the projections of joints (J, 3)."""
        joints_m = self.to_hand_m(joints_world_m)
        projected = np.stack([to_pixels(P, joints_m) for P in self.P_crop])
        return np.nan_to_num(np.linalg.norm(projected - keypoints_px, axis=-1), nan=1e3)

    def observations(
        self, keypoints_px: np.ndarray, std_px: np.ndarray, seen: np.ndarray | bool = True
    ) -> Observations:
        """Keypoints (V, J, 2) with deviations (V, J), crop pixels, of the views (V,) that are `seen`: in units of the
        crops' focal lengths, which is what triangulation takes, for `P_crop`."""
        return crop_observations(np.stack(self.P_crop), keypoints_px, std_px, seen)


def _that_see(
    rig: Rig,
    frame_set: FrameSet,
    target_m: np.ndarray,
    joints_m: np.ndarray | None,
    half_width_m: float,
    into: CropBatch,
    seen_in: SeenIn | None,
    choice: ViewChoiceSettings = ViewChoiceSettings(),  # noqa: B008 - frozen
) -> list[tuple[RigCamera, Frame]]:
    """Of the cameras that have the target (3,) in their image, and joints (21, 3) where they are given in front, the
    best ones, as many as `into` has room for."""
    seen, places = [], []
    for camera in rig.cameras:
        frame = frame_set.frames.get(camera.camera_id)
        if frame is None:
            continue
        place = _place_in(camera, target_m, joints_m)
        if place is None:
            continue
        seen.append((camera, frame))
        places.append(place)
    if len(seen) <= len(into.view_mask):
        return seen
    shares, detail = [], []
    enough_px = choice.enough_px * into.crops_rgb.shape[1]
    for (camera, _), (middle_px, depth_m) in zip(seen, places, strict=True):
        size_px = np.array((camera.camera.width, camera.camera.height))
        half_px = half_width_m * camera.camera.matrix[0, 0] / depth_m
        detail.append(min(1.0, 2 * half_px / enough_px))
        inside_px = np.minimum(middle_px + half_px, size_px) - np.maximum(middle_px - half_px, 0)
        shares.append(np.prod(np.clip(inside_px / (2 * half_px), 0, 1)))
    rays = target_m - np.stack([camera.centre_world_m for camera, _ in seen])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    trust = np.array(shares)
    if seen_in is not None:
        trust *= seen_in.trust([camera.camera_id for camera, _ in seen])
    return [seen[number] for number in best_views(rays, np.array(detail), trust, len(into.view_mask))]


def _place_in(camera: RigCamera, target_m: np.ndarray, joints_m: np.ndarray | None) -> tuple[np.ndarray, float] | None:
    """Where (2,) in a camera's image a target (3,) is, and how deep; None where it is not, or joints (21, 3) that are
    given are not all in front."""
    middle_px = camera.project(target_m[None])[0]
    depth_m = float(camera.T_cam_world[2] @ np.append(target_m, 1))
    inside = ((middle_px >= 0) & (middle_px < (camera.camera.width, camera.camera.height))).all()
    if depth_m < _NEAREST_M or not inside or (joints_m is not None and not is_in_front(camera, target_m, joints_m)):
        return None
    return middle_px, depth_m


def cameras_on(rig: Rig, joints_m: np.ndarray) -> int:
    """How many cameras have the middle of joints (21, 3) in their image, whether or not a set has a frame of theirs."""
    target_m = joints_m.mean(0)
    return sum(_place_in(camera, target_m, joints_m) is not None for camera in rig.cameras)


def show_a_hand(presence: np.ndarray, judge: JudgeSettings) -> bool:
    """Whether at least two views do, by their probabilities (V,) of it.

    That keypoints agree is not enough: without a hand a network gives each view the same likely pose, which agrees.
    """
    return bool(np.sort(presence)[-2:].mean() >= judge.least_presence)


class ViewErrors(NamedTuple):
    """`keypoints_px` (V, J, 2) in the cameras' distorted images; `reprojection_px` and `leave_one_out_px` (V, J)."""

    keypoints_px: np.ndarray
    reprojection_px: np.ndarray
    leave_one_out_px: np.ndarray


def errors_px(
    views: HandViews, keypoints_px: np.ndarray, joints_world_m: np.ndarray, blind_m: np.ndarray
) -> ViewErrors:
    """Errors in image pixels of joints (J, 3) against keypoints (V, J, 2), crop pixels.

    Leave-one-out: each view's keypoint against the joint of the other views alone, `blind_m` (V, J, 3), hand-centred.
    """
    joints_m = views.to_hand_m(joints_world_m)
    of_views = []
    for crop, P, seen_px, others_m in zip(views.crops, views.P_crop, keypoints_px, blind_m, strict=True):
        of_views.append(crop.to_image_px(np.stack([seen_px, to_pixels(P, joints_m), to_pixels(P, others_m)])))
    image_px, joints_px, blind_px = np.stack(of_views, axis=1)
    return ViewErrors(
        image_px, np.linalg.norm(joints_px - image_px, axis=-1), np.linalg.norm(blind_px - image_px, axis=-1)
    )
