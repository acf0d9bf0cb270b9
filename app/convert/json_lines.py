"""Recorded hands as lines of JSON: a header, then one object a frame."""

import json
from pathlib import Path

import numpy as np

from app.convert.hand_recording import ARM_POINTS, HandRecording, RecordedArm, RecordedHand
from app.convert.skeleton_animation import NODE_NAMES
from calibration.hand import BONES
from models.hand.joint_angles import JOINT_ANGLE_NAMES
from models.hand.wrist_angles import WRIST_ANGLE_NAMES


def write_json_lines(path: Path, recording: HandRecording) -> None:
    """A frame lists the hands that are there, with their arms where they are known; a frame in a gap lists none."""
    header = {
        "type": "header",
        **recording.notes(),
        "units": {"joints_world_m": "m", "std_m": "m", "angles_deg": "degrees"},
        "joints": NODE_NAMES,
        "angles": JOINT_ANGLE_NAMES,
        "wrist_angles": WRIST_ANGLE_NAMES,
        "bones": [[NODE_NAMES[parent], NODE_NAMES[child]] for parent, child in BONES],
        "bone_lengths_m": {hand.name: _rounded(hand.fit.shape[:20], 6) for hand in recording.hands},
    }
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header) + "\n")
        for frame in range(recording.frames):
            said = {
                "type": "frame",
                "frame": frame,
                "time_ns": int(recording.times_ns[frame]),
                "hands": [_hand(hand, frame) for hand in recording.hands if hand.valid[frame]],
            }
            file.write(json.dumps(said) + "\n")


def arm_json(arm: RecordedArm, frame: int) -> dict:
    """An arm in a frame; null where something is not known."""
    std_m = np.sqrt(np.diagonal(arm.covariance_m2[frame], axis1=1, axis2=2))
    points = {
        key: _rounded(values[number], 7)
        for number, name in enumerate(ARM_POINTS)
        for key, values in ((f"{name}_world_m", arm.points_world_m[frame]), (f"{name}_std_m", std_m))
    }
    wrist = {
        "wrist_deg": _rounded(np.rad2deg(arm.wrist_rad[frame]), 4),
        "wrist_std_deg": _rounded(np.rad2deg(arm.wrist_std_rad[frame]), 4),
    }
    return {"side": arm.side, **points, **wrist}


def _hand(hand: RecordedHand, frame: int) -> dict:
    std_m = np.sqrt(np.diagonal(hand.covariance_m2[frame], axis1=1, axis2=2))
    arm = {}
    if hand.arm is not None and np.isfinite(hand.arm.points_world_m[frame, 0]).all():
        arm = {"arm": arm_json(hand.arm, frame)}
    return {
        "hand": hand.side,
        "track": hand.track_id,
        "filled": bool(hand.filled[frame]),
        "joints_world_m": _rounded(hand.joints_world_m[frame], 7),
        "std_m": _rounded(std_m, 7),
        "confidence": _rounded(hand.confidence[frame], 4),
        "angles_deg": _rounded(np.rad2deg(hand.fit.angles_rad[frame]), 4),
        "angles_std_deg": _rounded(np.rad2deg(hand.fit.angles_std_rad[frame]), 4),
        **arm,
    }


def _rounded(values: np.ndarray, digits: int) -> list:
    """As JSON has it: null for what is not a number."""
    return np.where(np.isfinite(values), np.round(values, digits), np.array(None)).tolist()
