"""Pose files with arms for tests: known wrist angles, a forearm and an upper arm of one length."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from app.convert.fitting import with_fit
from app.convert.reading import read_recording
from calibration.hand import Side
from models.hand.builtin import MIRROR_Y
from models.hand.skeleton import FIRST_JOINT_DIRECTIONS
from tests.support.pose_files import START_NS, STEP_NS, TRACKS, pose_arrays, write_pose_file

FLEXION_DEG, DEVIATION_DEG = 20.0, -10.0
FOREARM_M, UPPER_ARM_M = 0.26, 0.31
FRAMES = 40
ELBOW_STD_M, SHOULDER_STD_M = 0.02, 0.03
KNOWN: dict[Side, tuple[range, range]] = {"right": (range(5, 30), range(10, 28)), "left": (range(9, 20), range(0))}
"""Frames in which the elbow of a hand is known, and those in which its shoulder is."""
_TORSO_M = np.array([0.1, 0.5, 0.4])


def elbow_of(T_world_hand: np.ndarray, side: Side = "right") -> np.ndarray:
    """The elbow (3,) of a hand whose wrist has the angles above, by turning a solid hand."""
    y = -FIRST_JOINT_DIRECTIONS[2]
    x = np.array([0.0, 0, -1]) - y * (np.array([0.0, 0, -1]) @ y)
    x /= np.linalg.norm(x)
    axes = np.stack([x, y, np.cross(x, y)], axis=1)
    R_forearm_hand = Rotation.from_euler("ZXY", [FLEXION_DEG, DEVIATION_DEG, 0], degrees=True).as_matrix()
    elbow_hand = FOREARM_M * axes @ R_forearm_hand.T @ [0.0, 1, 0]
    mirror = MIRROR_Y[:3, :3] if side == "left" else np.eye(3)
    return T_world_hand[:3, 3] + T_world_hand[:3, :3] @ (mirror @ elbow_hand)


def shoulder_of(elbow_m: np.ndarray) -> np.ndarray:
    """(..., 3): an upper arm from the elbows (..., 3) towards a place that stays."""
    towards = _TORSO_M - elbow_m
    return elbow_m + UPPER_ARM_M * towards / np.linalg.norm(towards, axis=-1, keepdims=True)


def write_arm_file(path: Path, known: dict[Side, tuple[range, range]]) -> Path:
    """A pose file whose hands have an arm in the frames of the first range, with a shoulder in those of the second."""
    plain = read_recording(write_pose_file(path.with_name(f"plain_{path.name}")))
    rows: dict[str, list] = {}
    for side, (with_elbow, with_shoulder) in known.items():
        (hand,) = (each for each in plain.hands if each.side == side)
        fitted = with_fit(hand, plain.definition)
        for frame in with_elbow:
            elbow_m = elbow_of(fitted.fit.T_world_hand[frame], side)
            row = {
                "arm_time": START_NS + STEP_NS * frame,
                "arm_hand": side,
                "arm_track": TRACKS[side],
                "arm_side": side,
                "arm_elbow": elbow_m,
                "arm_elbow_covariance": ELBOW_STD_M**2 * np.eye(3),
                "arm_shoulder": shoulder_of(elbow_m) if frame in with_shoulder else np.full(3, np.nan),
                "arm_shoulder_covariance": SHOULDER_STD_M**2 * np.eye(3),
            }
            for name, value in row.items():
                rows.setdefault(name, []).append(value.astype(np.float32) if isinstance(value, np.ndarray) else value)
    return write_pose_file(path, pose_arrays() | {name: np.array(values) for name, values in rows.items()})
