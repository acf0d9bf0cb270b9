"""`--up`: hands turned so that z points up, as every format takes it.

It does where a board that lay flat defined the rig's world; else the world is the first camera's, x to its right, y
down and z forward.
"""

from dataclasses import replace

import numpy as np

from app.convert.hand_recording import HandRecording, RecordedHand
from calibration.errors import UserError

UPS = {
    "x": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "-x": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    "y": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-y": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "z": np.eye(3),
    "-z": np.diag([1.0, -1, -1]),
}
"""The rotation (3, 3) that takes each axis to z, and leaves x where it is if it can."""


def turn_up(recording: HandRecording, up: str) -> HandRecording:
    """The recording, not fitted yet, in axes of which z is the axis of the rig's world that points `up`, of UPS.

    Raises UserError where it is turned already.
    """
    if up == "z":
        return recording
    if recording.up_in_rig != "z":
        raise UserError(
            f"these poses are turned already, by `--up {recording.up_in_rig}`: z is up in them. Leave `--up` out."
        )
    return replace(recording, hands=tuple(_turned(hand, UPS[up]) for hand in recording.hands), up_in_rig=up)


def _turned(hand: RecordedHand, R: np.ndarray) -> RecordedHand:
    arm = hand.arm
    if arm is not None:
        covariance_m2 = R @ arm.covariance_m2 @ R.T
        arm = replace(arm, points_world_m=arm.points_world_m @ R.T, covariance_m2=covariance_m2)
    return replace(hand, joints_world_m=hand.joints_world_m @ R.T, covariance_m2=R @ hand.covariance_m2 @ R.T, arm=arm)
