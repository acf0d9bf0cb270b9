"""Hands that are made of pictures of other hands: one view's of one, another view's of another.

Rays to two people's hands can pass near each other, and each of both views then shows a hand in its crop.
"""

from collections.abc import Sequence

import numpy as np

from app.estimators.estimator import Hand
from calibration.rig import Rig

_LEAST_VIEWS = 2


def made_of_others(hands: Sequence[Hand], rig: Rig, same_picture: float) -> set[int]:
    """The tracks of the hands that have fewer than two views of their own, beside hands that more views say.

    In a view that is not its own a hand's keypoints lie where a better hand's joints are to be seen, joint by joint: in
    the median nearer than `same_picture` of that hand's extent.
    """
    cameras = {camera.camera_id: camera for camera in rig.cameras}
    better: list[Hand] = []
    seen_px: dict[str, list[np.ndarray]] = {camera_id: [] for camera_id in cameras}
    for hand in sorted(hands, key=lambda hand: (-len(hand.detections_px), -float(hand.confidence.mean()))):
        own = sum(
            not any(_is_same(keypoints_px, other_px, same_picture) for other_px in seen_px[camera_id])
            for camera_id, keypoints_px in hand.detections_px.items()
        )
        if own < _LEAST_VIEWS:
            continue
        better.append(hand)
        if len(better) < len(hands):
            for camera_id, camera in cameras.items():
                seen_px[camera_id].append(camera.project(hand.joints_world_m))
    return {hand.track_id for hand in hands} - {hand.track_id for hand in better}


def _is_same(keypoints_px: np.ndarray, other_px: np.ndarray, same_picture: float) -> bool:
    """Of keypoints (21, 2) and projected joints (21, 2), NaN behind the camera."""
    both = np.isfinite(keypoints_px).all(1) & np.isfinite(other_px).all(1)
    if not both.any():
        return False
    apart_px = np.linalg.norm(keypoints_px[both] - other_px[both], axis=1)
    return bool(np.median(apart_px) < same_picture * np.ptp(other_px[both], axis=0).max())
