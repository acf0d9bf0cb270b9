"""Recorded hands as NumPy arrays: the layout of `--poses`, so that it can be converted again, and what was added."""

from pathlib import Path

import numpy as np

from app.convert.hand_recording import ARM_POINTS, HandRecording
from app.run.pose_rows import VERSION
from calibration.hand import Side
from models.hand.builtin import mirror_of
from models.hand.joint_angles import JOINT_ANGLE_NAMES
from models.hand.skeleton import REST_ANGLES_RAD, chain


def write_npz_file(path: Path, recording: HandRecording) -> None:
    """One row for each hand in each frame in which it is there, ordered by time. docs/convert.md lists the arrays."""
    rows = sorted(
        (frame, number) for number, hand in enumerate(recording.hands) for frame in np.flatnonzero(hand.valid).tolist()
    )
    frames = np.array([frame for frame, _ in rows])
    numbers = np.array([number for _, number in rows])

    def of_rows(name: str, of_fit: bool = False) -> np.ndarray:
        values = np.stack([getattr(hand.fit if of_fit else hand, name) for hand in recording.hands])
        return values[numbers, frames]

    arrays = {
        "time": recording.times_ns[frames],
        "frame": frames,
        "hand": np.array([hand.side for hand in recording.hands])[numbers],
        "track": np.array([hand.track_id for hand in recording.hands])[numbers],
        "joints": of_rows("joints_world_m").astype(np.float32),
        "covariance": of_rows("covariance_m2").astype(np.float32),
        "confidence": of_rows("confidence").astype(np.float32),
        "filled": of_rows("filled"),
        "angles_deg": np.rad2deg(of_rows("angles_rad", True)).astype(np.float32),
        "angles_std_deg": np.rad2deg(of_rows("angles_std_rad", True)).astype(np.float32),
        "fitted_joints": of_rows("joints_world_m", True).astype(np.float32),
        "T_world_hand": of_rows("T_world_hand", True).astype(np.float32),
        "angle_names": np.array(JOINT_ANGLE_NAMES),
        "hand_names": np.array([hand.name for hand in recording.hands]),
        "bone_lengths_m": np.stack([hand.fit.shape[:20] for hand in recording.hands]),
        "rest_joints_m": np.stack([_rest_joints_m(hand.side, hand.fit.shape) for hand in recording.hands]),
        "version": np.array(VERSION),
        "set_time": recording.times_ns,
        **_arms(recording),
        **{name: np.array(value) for name, value in recording.notes().items()},
    }
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _arms(recording: HandRecording) -> dict[str, np.ndarray]:
    """One row for each arm in each frame in which its elbow is known; none where no hand has one."""
    rows: dict[str, list] = {}
    for hand in recording.hands:
        arm = hand.arm
        if arm is None:
            continue
        for frame in np.flatnonzero(np.isfinite(arm.points_world_m[:, 0]).all(axis=1)).tolist():
            row = {
                "time": recording.times_ns[frame],
                "hand": hand.side,
                "track": hand.track_id,
                "side": arm.side,
                **dict(zip(ARM_POINTS, arm.points_world_m[frame].astype(np.float32), strict=True)),
                "wrist_deg": np.rad2deg(arm.wrist_rad[frame]).astype(np.float32),
                "wrist_std_deg": np.rad2deg(arm.wrist_std_rad[frame]).astype(np.float32),
            }
            for point, covariance in zip(ARM_POINTS, arm.covariance_m2[frame].astype(np.float32), strict=True):
                row[f"{point}_covariance"] = covariance
            for name, value in row.items():
                rows.setdefault(f"arm_{name}", []).append(value)
    return {name: np.array(values) for name, values in rows.items()}


def _rest_joints_m(side: Side, shape: np.ndarray) -> np.ndarray:
    """(21, 3) in the hand's frame."""
    joints = chain(REST_ANGLES_RAD, shape[:20]).joints_m
    return joints * mirror_of(side)
