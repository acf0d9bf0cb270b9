"""Arms in the viewer: lines from the wrist over the elbow to the shoulder, in the hand's colour."""

import msgspec
import numpy as np

from app.transport.messages import ArmPose, HandPose
from app.viewer import palette
from app.viewer.arm_lines import arm_lines
from models.simulation.hands import hands_at
from tests.support.viewer_scene import make_pose


def with_arm(side: str, shoulder: list[float] | None) -> HandPose:
    arm = ArmPose(
        side="left",
        right_probability=0.2,
        seen_time_ns=0,
        views=["cam_0"],
        elbow_world_m=[0.1, 0.2, 0.3],
        elbow_covariance_m2=np.eye(3).tolist(),
        shoulder_world_m=shoulder,
    )
    return msgspec.structs.replace(make_pose(side, hands_at(1.0)["left"]), arm=arm)


def test_an_arm_goes_from_wrist_to_elbow_to_shoulder_as_far_as_it_is_known() -> None:
    whole, forearm = with_arm("left", [0.4, 0.5, 0.6]), with_arm("right", None)
    points, pairs, colours = arm_lines([make_pose("left", hands_at(1.0)["left"]), whole, forearm])
    ends = points[pairs].tolist()
    wrist = whole.joints_world_m[0]
    assert ends == [[wrist, [0.1, 0.2, 0.3]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], [wrist, [0.1, 0.2, 0.3]]]
    np.testing.assert_array_equal(colours, [palette.HANDS["left"]] * 2 + [palette.HANDS["right"]])


def test_hands_without_arms_have_no_lines() -> None:
    lost = with_arm("left", [float("nan")] * 3)
    for part in arm_lines([make_pose("left", hands_at(1.0)["left"]), lost]):
        assert len(part) == 0
