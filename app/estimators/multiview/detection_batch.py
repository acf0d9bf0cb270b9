"""The detections of all views of one frame set as arrays, and how far they are from hands in the world."""

from dataclasses import dataclass

import numpy as np

from app.estimators.detection import Detection
from calibration.rig import RigCamera


@dataclass(frozen=True, kw_only=True)
class DetectionBatch:
    """The detections of one frame set, in one list of length D.

    `view` (D,) indexes the cameras; `keypoints_px` and `keypoints_norm` (D, 21, 2) distorted pixels and normalised
    image coordinates; `std_norm` (D, 21); `size_norm` (D,) the hand's size in the image; `presence` (D,) the
    probability that it is a hand, `right` (D,) that it is a right one.
    """

    view: np.ndarray
    keypoints_px: np.ndarray
    keypoints_norm: np.ndarray
    std_norm: np.ndarray
    size_norm: np.ndarray
    presence: np.ndarray
    right: np.ndarray

    def __len__(self) -> int:
        return len(self.view)


def gather(cameras: list[RigCamera], detections: list[list[Detection]], std_scale: np.ndarray) -> DetectionBatch:
    """The detections of each camera as one list of arrays, each camera's stds multiplied with `std_scale` (V,)."""
    flat = [detection for found in detections for detection in found]
    if not flat:
        none = np.zeros(0)
        return DetectionBatch(
            view=none.astype(int),
            keypoints_px=np.zeros((0, 21, 2)),
            keypoints_norm=np.zeros((0, 21, 2)),
            std_norm=np.zeros((0, 21)),
            size_norm=none,
            presence=none,
            right=none,
        )
    presence = np.array([detection.presence for detection in flat])
    counts = [len(found) for found in detections]
    view = np.repeat(np.arange(len(cameras)), counts)
    keypoints_px = np.array([detection.keypoints_px for detection in flat], dtype=np.float64)
    keypoints_norm = np.empty_like(keypoints_px)
    end = 0
    for camera, count in zip(cameras, counts, strict=True):
        start, end = end, end + count
        keypoints_norm[start:end] = camera.camera.undistort(keypoints_px[start:end])
    focal = np.array([camera.camera.focal_px for camera in cameras])[view]
    centred = keypoints_norm - keypoints_norm.sum(1, keepdims=True) / keypoints_norm.shape[1]
    return DetectionBatch(
        view=view,
        keypoints_px=keypoints_px,
        keypoints_norm=keypoints_norm,
        std_norm=np.array([detection.std_px for detection in flat]) * (std_scale[view] / focal)[:, None],
        size_norm=2 * np.sqrt(np.einsum("djc,djc->d", centred, centred) / centred.shape[1]),
        presence=presence,
        # What is hardly a hand says little about which hand it is.
        right=0.5 + (np.array([detection.right_probability for detection in flat]) - 0.5) * presence**2,
    )


def views_with_hand(detections: DetectionBatch) -> int:
    """How many views have a hand of one side: of the side of which more have."""
    is_right = detections.right > 0.5
    return max(len(np.unique(detections.view[is_right])), len(np.unique(detections.view[~is_right])))


def in_cameras(T_cam_world: np.ndarray, in_view_m: np.ndarray) -> np.ndarray:
    """World points (..., V, 21, 3) in the axes of the view that each is for."""
    return in_view_m @ T_cam_world[:, :3, :3].swapaxes(-1, -2) + T_cam_world[:, None, :3, 3]


def distances(T_cam_world: np.ndarray, detections: DetectionBatch, in_view_m: np.ndarray) -> np.ndarray:
    """How far each detection is from each proposal (K, D): median over the joints, as a share of the hand's size."""
    in_camera = in_cameras(T_cam_world, in_view_m)
    # Not in front of the camera is infinitely far.
    depth = np.where(in_camera[..., 2] > 1e-3, in_camera[..., 2], np.nan)
    x = (in_camera[..., 0] / depth)[:, detections.view] - detections.keypoints_norm[..., 0]
    y = (in_camera[..., 1] / depth)[:, detections.view] - detections.keypoints_norm[..., 1]
    squared = x * x + y * y
    squared[np.isnan(squared)] = np.inf
    return np.sqrt(np.partition(squared, 10, axis=-1)[..., 10]) / np.maximum(detections.size_norm, 1e-6)
