"""JSON of hands: an arm that is known is said, one that is not has no key."""

import json

import msgspec
import numpy as np

from app.streams.json_message import hands_json
from app.streams.streamed import streamed_set
from app.transport.messages import ArmPose
from tests.support.streamed_hands import CONTEXT, pose_set


def test_an_arm_is_said_with_its_deviations_and_the_wrist_in_degrees() -> None:
    left, right = pose_set().hands
    arm = ArmPose(
        side="right",
        right_probability=0.9,
        seen_time_ns=123,
        views=["cam_0", "cam_1"],
        elbow_world_m=[0.1234567, -0.2, 0.3],
        elbow_covariance_m2=np.diag([1e-4, 4e-4, 9e-4]).tolist(),
        wrist_rad=np.deg2rad([20.0, -10.0]).tolist(),
        wrist_std_rad=np.deg2rad([5.0, 6.0]).tolist(),
    )
    poses = msgspec.structs.replace(pose_set(), hands=[left, msgspec.structs.replace(right, arm=arm)])
    without, with_arm = json.loads(hands_json(streamed_set(poses, CONTEXT)))["hands"]
    assert "arm" not in without
    assert with_arm["arm"] == {
        "side": "right",
        "seen_time_ns": 123,
        "elbow_world_m": [0.123457, -0.2, 0.3],
        "elbow_std_m": [0.01, 0.02, 0.03],
        "wrist_deg": [20.0, -10.0],
        "wrist_std_deg": [5.0, 6.0],
    }
    shoulder = {"shoulder_world_m": [1.0, 2.0, 3.0], "shoulder_covariance_m2": np.diag([1e-4] * 3).tolist()}
    right = msgspec.structs.replace(right, arm=msgspec.structs.replace(arm, **shoulder, wrist_rad=None))
    (said,) = json.loads(hands_json(streamed_set(msgspec.structs.replace(poses, hands=[right]), CONTEXT)))["hands"]
    assert said["arm"]["shoulder_world_m"] == [1, 2, 3] and said["arm"]["shoulder_std_m"] == [0.01] * 3
    assert "wrist_deg" not in said["arm"]
