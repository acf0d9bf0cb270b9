"""OpenPose's JSON files of the simulated hands, as OpenPose writes them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from calibration.session import Session
from models.simulation.hands import hands_at


def person(hands_px: Mapping[str, np.ndarray]) -> dict:
    """A person with hands (21, 3) of x, y, confidence by side; a missing one is all zeros, as OpenPose has it."""
    none = np.zeros((21, 3))
    return {
        "person_id": [-1],
        "pose_keypoints_2d": [0.0] * 75,
        **{f"hand_{side}_keypoints_2d": hands_px.get(side, none).ravel().tolist() for side in ("left", "right")},
    }


def write_openpose(folder: Path, session: Session, score: float = 0.7, missing: tuple[int, ...] = ()) -> Path:
    """Files of all frames, in which both hands are where they truly are, but for joints that are `missing`."""
    for camera in session.rig.cameras:
        own = folder / f"{camera.camera_id}_json"
        own.mkdir(parents=True)
        for number, time_ns in enumerate(session.frame_times_ns(camera.camera_id)):
            hands_px = {}
            for side, joints_m in hands_at((time_ns - camera.time_offset_ns) * 1e-9).items():
                hands_px[side] = np.column_stack([camera.project(joints_m), np.full(21, score)])
                hands_px[side][list(missing)] = 0
            file = own / f"{camera.camera_id}_{number:012d}_keypoints.json"
            file.write_text(json.dumps({"version": 1.3, "people": [person(hands_px)]}))
    return folder
