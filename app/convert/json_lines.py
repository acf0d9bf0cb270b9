"""Recorded hands as lines of JSON: a header, then one object a frame."""

import json
from pathlib import Path

import numpy as np

from app.convert.hand_recording import HandRecording, RecordedHand
from app.convert.skeleton_animation import NODE_NAMES
from calibration.hand import BONES
from models.hand.joint_angles import JOINT_ANGLE_NAMES


def write_json_lines(path: Path, recording: HandRecording) -> None:
    """A frame lists the hands that are there; a frame in a gap lists none."""
    header = {
        "type": "header",
        **recording.notes(),
        "units": {"joints_world_m": "m", "std_m": "m", "angles_deg": "degrees"},
        "joints": NODE_NAMES,
        "angles": JOINT_ANGLE_NAMES,
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


def _hand(hand: RecordedHand, frame: int) -> dict:
    std_m = np.sqrt(np.diagonal(hand.covariance_m2[frame], axis1=1, axis2=2))
    return {
        "hand": hand.side,
        "track": hand.track_id,
        "filled": bool(hand.filled[frame]),
        "joints_world_m": _rounded(hand.joints_world_m[frame], 7),
        "std_m": _rounded(std_m, 7),
        "confidence": _rounded(hand.confidence[frame], 4),
        "angles_deg": _rounded(np.rad2deg(hand.fit.angles_rad[frame]), 4),
        "angles_std_deg": _rounded(np.rad2deg(hand.fit.angles_std_rad[frame]), 4),
    }


def _rounded(values: np.ndarray, digits: int) -> list:
    """As JSON has it: null for what is not a number."""
    return np.where(np.isfinite(values), np.round(values, digits), np.array(None)).tolist()
