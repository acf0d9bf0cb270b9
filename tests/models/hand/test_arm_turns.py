"""The turns of forearm and upper arm: they lay the bones of the T-pose on the arm, and bend and twist where arms do."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.hand import Side
from models.hand.arm_turns import arm_direction, forearm_turn, upper_arm_turn
from models.hand.wrist_angles import wrist_angles

SIDES = pytest.mark.parametrize("side", ["right", "left"])


def arms(side: Side, count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hands (n, 4, 4) anywhere, elbows (n, 3) a forearm behind them and shoulders (n, 3) anywhere."""
    generator = np.random.default_rng(7)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, :3, :3] = Rotation.random(count, rng=generator).as_matrix()
    T[:, :3, 3] = generator.normal(0, 0.3, (count, 3))
    behind = -arm_direction(side) + generator.normal(0, 0.4, (count, 3))
    elbow_m = T[:, :3, 3] + np.einsum("nij,nj->ni", T[:, :3, :3], 0.26 * behind)
    return T, elbow_m, elbow_m + generator.normal(0, 0.3, (count, 3))


@SIDES
def test_the_bones_of_the_t_pose_lie_on_the_arm(side: Side) -> None:
    T, elbow_m, shoulder_m = arms(side)
    forearm = forearm_turn(T[:, :3, :3], wrist_angles(T, elbow_m, side), side)
    upper = upper_arm_turn(forearm, elbow_m - shoulder_m, side)
    for turn, line in ((forearm, T[:, :3, 3] - elbow_m), (upper, elbow_m - shoulder_m)):
        np.testing.assert_allclose(turn @ turn.swapaxes(1, 2), np.tile(np.eye(3), (len(T), 1, 1)), atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-9)
        expected = line / np.linalg.norm(line, axis=1, keepdims=True)
        np.testing.assert_allclose(turn @ arm_direction(side), expected, atol=1e-9)


@SIDES
def test_a_bent_elbow_turns_about_a_hinge_and_the_forearm_about_itself(side: Side) -> None:
    """Known turns come back: flexion about the hinge, then pronation about the forearm, of an arm anywhere."""
    generator = np.random.default_rng(11)
    along, sign = arm_direction(side), 1 if side == "right" else -1
    hinge = np.array([0.0, 0, 1]) - along[2] * along
    hinge /= np.linalg.norm(hinge)
    for _ in range(100):
        upper = Rotation.random(rng=generator)
        flexion, pronation = np.deg2rad(generator.uniform([16, -85], [145, 85]))
        # Both elbows bend towards the thumb's side.
        bent = Rotation.from_rotvec(sign * flexion * hinge) * Rotation.from_rotvec(sign * pronation * along)
        found = upper_arm_turn((upper * bent).as_matrix(), upper.apply(0.3 * along), side)
        np.testing.assert_allclose(found, upper.as_matrix(), atol=1e-9)


@SIDES
def test_the_upper_arms_turn_does_not_jump_as_the_elbow_straightens(side: Side) -> None:
    along = arm_direction(side)
    hinge = np.array([0.0, 0, 1]) - along[2] * along
    twisted = Rotation.from_rotvec(1.2 * along)
    flexions = np.deg2rad(np.linspace(-20, 20, 401))
    forearms = Rotation.from_rotvec(flexions[:, None] * hinge / np.linalg.norm(hinge)) * twisted
    found = upper_arm_turn(forearms.as_matrix(), np.tile(0.3 * along, (len(flexions), 1)), side)
    steps = (Rotation.from_matrix(found[1:]) * Rotation.from_matrix(found[:-1]).inv()).magnitude()
    assert np.isfinite(found).all()
    assert steps.max() < np.deg2rad(2)
    np.testing.assert_allclose(found[200], twisted.as_matrix(), atol=1e-9)
