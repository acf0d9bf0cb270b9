"""One hand through some frames as a rig's detector saw it, and the crops that look at it.

Where the crops look comes from the labels alone, triangulated robustly: at run time, too, no truth is known.
"""

from dataclasses import dataclass

import numpy as np

from calibration.rig import RigCamera
from calibration.triangulation import Observations, triangulate
from models.data.crop_cache import MARGIN, Shard
from models.hand.crop import Crop, hand_box, make_crop
from models.hand.upright import make_upright_crop

_STD_OF_SIZE = 0.036
_LEAST_CONFIDENCE = 0.02
_SURE_STD_M = 0.03
_FEWEST_JOINTS = 8
_HAND_REACH_M = 0.16


@dataclass(frozen=True, kw_only=True)
class HandSequence:
    """One hand in N frames of V cameras.

    `time_ns` (N,); `keypoints_px` (N, V, 21, 2) distorted pixels and `confidence` (N, V, 21), 0 for no label.
    """

    cameras: tuple[RigCamera, ...]
    right: bool
    time_ns: np.ndarray
    keypoints_px: np.ndarray
    confidence: np.ndarray


def triangulate_labels(sequence: HandSequence) -> np.ndarray:
    """Joints (N, 21, 3) in world metres, NaN where they are not known to three centimetres."""
    cameras = sequence.cameras
    seen = (sequence.confidence > 0).swapaxes(1, 2)
    keypoints_px = np.where(sequence.confidence[..., None] > 0, sequence.keypoints_px, 0.0)
    points = np.stack([c.camera.undistort(keypoints_px[:, v]) for v, c in enumerate(cameras)], axis=2)
    focal_px = np.array([camera.camera.focal_px for camera in cameras])
    std = label_std(keypoints_px, sequence.confidence).swapaxes(1, 2) / focal_px
    P = np.broadcast_to(np.stack([camera.T_cam_world[:3] for camera in cameras]), (*seen.shape, 3, 4))
    result = triangulate(Observations(P, points, std, seen))
    with np.errstate(invalid="ignore"):
        unsure = ~(np.einsum("njaa->nj", result.covariance_m2) < 3 * _SURE_STD_M**2)
    return np.where(unsure[..., None], np.nan, result.points_m)


def label_std(keypoints_px: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Expected errors (..., 21) of labels (..., 21, 2) with confidence (..., 21), in their unit.

    A share of the hand's size, as of `hand_size_px` of the joints that are labelled.
    """
    known = (confidence > 0)[..., None]
    count = np.maximum(known.sum(-2, keepdims=True), 1)
    offsets = keypoints_px - np.where(known, keypoints_px, 0).sum(-2, keepdims=True) / count
    size = 2 * np.sqrt((np.where(known, offsets, 0) ** 2).sum((-2, -1)) / count[..., 0, 0])
    size = np.maximum(size, 1.0) * _STD_OF_SIZE
    return size[..., None] / np.sqrt(np.maximum(confidence, _LEAST_CONFIDENCE))


def boxes(joints_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Target (N, 3) in world metres and half width (N,) of each frame's crops; NaN where the joints do not tell.

    Of the joints (N, 21, 3), those far from the others are left out first. A frame that tells nothing takes the box of
    the frame before it.
    """
    targets_m, half_widths_m = np.full((len(joints_m), 3), np.nan), np.full(len(joints_m), np.nan)
    for frame, joints in enumerate(joints_m):
        known = joints[np.isfinite(joints).all(-1)]
        if len(known):
            known = known[np.linalg.norm(known - np.median(known, axis=0), axis=-1) < _HAND_REACH_M]
        if len(known) >= _FEWEST_JOINTS:
            targets_m[frame], half_widths_m[frame] = hand_box(known)
        elif frame:
            targets_m[frame], half_widths_m[frame] = targets_m[frame - 1], half_widths_m[frame - 1]
    return targets_m, half_widths_m


def crops_of(
    sequence: HandSequence, size_px: int, upright: bool = False, margin: float = MARGIN
) -> tuple[list[list[Crop | None]], np.ndarray]:
    """The crops [N][V] of a sequence and their targets (N, 3) in world metres.

    None where the hand's place is not known or not in the camera's image. They show `margin` times the hand's box or,
    where they are to be `upright`, the square of models/hand/upright.py, and none of a frame with an unknown joint.
    """
    joints_m = triangulate_labels(sequence)
    targets_m, half_widths_m = boxes(joints_m)
    crops: list[list[Crop | None]] = []
    for joints, target_m, half_width_m in zip(joints_m, targets_m, half_widths_m, strict=True):
        known = np.isfinite(half_width_m) and (not upright or bool(np.isfinite(joints).all()))
        row: list[Crop | None] = []
        for camera in sequence.cameras:
            target_px = camera.project(target_m) if known else np.full(2, np.nan)
            limit = (camera.camera.width, camera.camera.height)
            if not bool(((target_px >= 0) & (target_px < limit)).all()):
                row.append(None)
            elif upright:
                row.append(make_upright_crop(camera, target_m, joints, size_px, not sequence.right, margin))
            else:
                row.append(make_crop(camera, target_m, half_width_m * margin, size_px, not sequence.right))
        crops.append(row)
    return crops, targets_m


def to_shard(
    sequence: HandSequence,
    crops: list[list[Crop | None]],
    targets_m: np.ndarray,
    images_rgb: list[np.ndarray],
    joints_world_m: np.ndarray | None = None,
    visible: np.ndarray | None = None,
    pictured: np.ndarray | None = None,
    vertices_world_m: np.ndarray | None = None,
) -> Shard | None:
    """The sequence as a cache keeps it; None where it has no picture.

    `images_rgb` holds an image for each crop that is not None, frame by frame, of the views `pictured` (V,), all by
    default; `joints_world_m` (N, 21, 3), `visible` (N, V, 21) and `vertices_world_m` (N, W, 3) are the truth.
    """
    there = np.array([[crop is not None for crop in row] for row in crops])
    if not images_rgb:
        return None
    without = there & ~pictured if pictured is not None else np.zeros_like(there)
    at = tuple(np.concatenate(both) for both in zip(np.nonzero(there & ~without), np.nonzero(without), strict=True))
    rows = np.full(there.shape, -1)
    rows[at] = np.arange(len(at[0]))
    flat = [crop for frame, view in zip(*at, strict=True) if (crop := crops[frame][view]) is not None]
    keypoints_px, confidence = sequence.keypoints_px[at], sequence.confidence[at]
    labels_px = np.stack([crop.to_crop_px(points) for crop, points in zip(flat, keypoints_px, strict=True)])
    known = np.isfinite(labels_px).all(-1) & (confidence > 0)
    axes = np.array([1.0 if sequence.right else -1.0, 1.0, 1.0])

    def in_crop_axes(points_world_m: np.ndarray | None) -> np.ndarray | None:
        return None if points_world_m is None else ((points_world_m - targets_m[:, None]) * axes).astype(np.float32)

    # Frames without a crop stay, so that the others keep their places in time.
    targets_m = np.where(np.any(there, axis=1)[:, None], targets_m, 0.0)
    return Shard(
        crops_rgb=np.stack(images_rgb),
        P_crop=np.stack([crop.P_crop for crop in flat]).astype(np.float32),
        labels_px=np.where(known[..., None], labels_px, 0.0).astype(np.float32),
        label_confidence=np.where(known, confidence, 0.0).astype(np.float32),
        rows=rows.astype(np.int32),
        sequence=np.zeros(len(crops), np.int32),
        time_ns=sequence.time_ns,
        targets_m=targets_m * axes,
        joints_m=in_crop_axes(joints_world_m),
        visible=None if visible is None else visible[at],
        vertices_m=in_crop_axes(vertices_world_m),
    )
