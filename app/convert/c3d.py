"""C3D of biomechanics, with ezc3d: the joints as points, the joint angles as points of the type ANGLES.

https://www.c3d.org/HTML/Documents/thec3dfileformat.htm
"""

import errno
import os
from pathlib import Path

import ezc3d
import numpy as np

from app.convert.hand_recording import HandRecording, RecordedHand
from app.convert.skeleton_animation import NODE_NAMES
from calibration.errors import UserError
from calibration.hand import JOINTS
from models.hand.joint_angles import JOINT_ANGLES, TURNS

_MOST_FRAMES, _MOST_OF_PARAMETER = 65535, 255
_RESIDUAL_STEP_MM, _LARGEST_RESIDUAL_MM = 0.1, 12.7
"""A residual has one byte, whose unit is POINT:SCALE; minus says that points are floats."""
_TURNING = tuple(dict.fromkeys(angle.joint for angle in JOINT_ANGLES))


def write_c3d(path: Path, recording: HandRecording) -> None:
    """Millimetres in the rig's axes. A residual is a joint's deviation, the largest where that is not known, 0 where
    it is interpolated, -1 in a gap.

    Raises UserError for more frames or hands than the format can count, OSError where not all of it is on the disk.
    """
    if len(recording.hands) > _MOST_OF_PARAMETER:
        raise UserError(
            f"{len(recording.hands)} hands are more than a C3D file can count, {_MOST_OF_PARAMETER}. Of one person "
            "`--join` makes one hand of each side; else convert to .csv."
        )
    if recording.frames > _MOST_FRAMES:
        raise UserError(
            f"{recording.frames} frames are more than a C3D file can count, {_MOST_FRAMES}. Convert to .trc or .csv."
        )
    joints_mm = [1e3 * hand.points_world_m for hand in recording.hands]
    std_mm = [1e3 * np.sqrt(np.trace(hand.points_covariance_m2, axis1=2, axis2=3) / 3) for hand in recording.hands]
    angles_deg = [_angles_deg(hand) for hand in recording.hands]
    names = [f"{hand.name}_{name}" for hand in recording.hands for name in (*NODE_NAMES, *hand.arm_names)]
    turning = [(hand, joint) for hand in recording.hands for joint in (*_TURNING, *([0] if hand.arm else []))]
    angle_names = [f"{hand.name}_{NODE_NAMES[joint]}_angles" for hand, joint in turning]
    points = np.concatenate([*joints_mm, *angles_deg], axis=1).transpose(2, 1, 0)
    # The library cuts off what is below a step.
    half_mm = _RESIDUAL_STEP_MM / 2
    least_mm, most_mm = _RESIDUAL_STEP_MM + half_mm, _LARGEST_RESIDUAL_MM + half_mm
    # It takes a joint whose residual is NaN for missing.
    std_mm = [np.nan_to_num(each, nan=most_mm) for each in std_mm]
    std_mm = [np.clip(each + half_mm, least_mm, most_mm) for each in std_mm]
    for hand, each in zip(recording.hands, std_mm, strict=True):
        each[hand.filled] = 0  # as the format has it of what was not measured
    residuals = np.concatenate([*std_mm, *(np.zeros(each.shape[:2]) for each in angles_deg)], axis=1).T
    missing = ~np.isfinite(points).all(axis=0)

    file = ezc3d.c3d()
    parameters = file["parameters"]
    parameters["POINT"]["UNITS"]["value"] = ["mm"]
    parameters["POINT"]["SCALE"]["value"] = [-_RESIDUAL_STEP_MM]
    parameters["POINT"]["RATE"]["value"] = [recording.rate_hz]
    parameters["POINT"]["LABELS"]["value"] = names + angle_names
    del parameters["POINT"]["DESCRIPTIONS"]
    _add_texts(file, "DESCRIPTIONS", ["joint"] * len(names) + [" ".join(TURNS)] * len(angle_names))
    _add_texts(file, "ANGLES", angle_names)
    file.add_parameter("POINT", "ANGLE_UNITS", ["deg"])
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    file.add_parameter("USTHAND", "NOTES", [f"{key}: {value}" for key, value in recording.notes().items()])
    file.add_parameter("USTHAND", "BONES_MM", _bones_mm(recording))
    ones = np.ones((1, *points.shape[1:]))
    file["data"]["points"] = np.concatenate([points, ones])
    file["data"]["meta_points"]["residuals"] = np.where(missing, -1.0, residuals)[None]
    file["data"]["meta_points"]["camera_masks"] = np.zeros((7, *points.shape[1:]), bool)
    file.write(str(path))
    # The library does not tell of a full disk.
    if path.stat().st_size < 4 * 4 * points.shape[1] * points.shape[2]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _add_texts(file: ezc3d.c3d, name: str, texts: list[str]) -> None:
    """As the library does with LABELS: of more than a parameter can have, NAME2 has the next."""
    for number, begin in enumerate(range(0, len(texts), _MOST_OF_PARAMETER), start=1):
        part = texts[begin : begin + _MOST_OF_PARAMETER]
        file.add_parameter("POINT", name if number == 1 else f"{name}{number}", part)


def _angles_deg(hand: RecordedHand) -> np.ndarray:
    """(F, 15, 3): flexion, abduction and rotation of each joint that turns, 0 where the hand has no such angle.

    Of a hand with an arm (F, 16, 3): its wrist last, whose deviation is the second."""
    angles_rad = hand.fit.angles_rad
    turns = np.where(np.isfinite(angles_rad[:, :1, None]), np.zeros((len(angles_rad), JOINTS, 3)), np.nan)
    for number, angle in enumerate(JOINT_ANGLES):
        turns[:, angle.joint, TURNS.index(angle.turn)] = np.rad2deg(angles_rad[:, number])
    turns = turns[:, _TURNING]
    if hand.arm is None:
        return turns
    wrist = np.concatenate([hand.arm.wrist_rad, 0 * hand.arm.wrist_rad[:, :1]], axis=1)
    return np.concatenate([turns, np.rad2deg(wrist)[:, None]], axis=1)


def _bones_mm(recording: HandRecording) -> np.ndarray:
    """(20 bones, hands)"""
    return 1e3 * np.stack([hand.fit.shape[:20] for hand in recording.hands], axis=1)
