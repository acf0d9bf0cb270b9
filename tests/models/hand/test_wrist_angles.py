"""The wrist's angles by the ISB: known turns are recovered, both hands have the same signs, deviations are true."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.hand import Side
from models.hand.builtin import MIRROR_Y, BuiltinHand
from models.hand.fit import fit_pose
from models.hand.joint_angles import pose_covariance
from models.hand.shape import MEAN_SHAPE
from models.hand.skeleton import REST_ANGLES_RAD
from models.hand.wrist_angles import wrist_angles, wrist_angles_covariance

SIDES = pytest.mark.parametrize("side", ["right", "left"])


def elbow_of(flexion_deg: float, deviation_deg: float, T: np.ndarray, side: Side) -> np.ndarray:
    """The elbow (3,) of a hand whose wrist has these angles: 0.25 m from the wrist, by turns of a solid hand."""
    middle = BuiltinHand("right").joints(REST_ANGLES_RAD, np.eye(4), MEAN_SHAPE)[9]
    # ISB's axes of the third metacarpal in the hand's.
    y = -middle / np.linalg.norm(middle)
    x = np.array([0.0, 0, -1]) - y * (np.array([0.0, 0, -1]) @ y)
    x /= np.linalg.norm(x)
    axes = np.stack([x, y, np.cross(x, y)], axis=1)
    R_forearm_hand = Rotation.from_euler("ZXY", [flexion_deg, deviation_deg, 0], degrees=True).as_matrix()
    elbow_hand = 0.25 * axes @ R_forearm_hand.T @ [0.0, 1, 0]
    mirror = MIRROR_Y[:3, :3] if side == "left" else np.eye(3)
    return T[:3, :3] @ (mirror @ elbow_hand) + T[:3, 3]


def world_pose(seed: int) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    T[:3, 3] = [0.1, -0.2, 0.6]
    return T


@SIDES
def test_known_turns_are_recovered(side: Side) -> None:
    for flexion, deviation in ((0, 0), (70, 0), (-60, 0), (0, 35), (0, -20), (40, 25), (-50, -15)):
        T = world_pose(3)
        found = np.rad2deg(wrist_angles(T, elbow_of(flexion, deviation, T, side), side))
        np.testing.assert_allclose(found, [flexion, deviation], atol=1e-6)


@SIDES
def test_signs_are_the_isbs_told_from_the_posed_hand_alone(side: Side) -> None:
    """An elbow on the palm's side is flexion, one on the thumb's side radial deviation, which is negative."""
    hand, T = BuiltinHand(side), world_pose(5)
    joints, vertices = hand.pose(REST_ANGLES_RAD, T, MEAN_SHAPE)
    palm = vertices[hand.mesh.palm > 0.5].mean(axis=0) - vertices[hand.mesh.palm < 0.5].mean(axis=0)
    back, thumb = joints[0] - joints[9], joints[5] - joints[17]
    elbow = joints[0] + 2.5 * back
    flexed, radial = elbow + 0.1 * palm / np.linalg.norm(palm), elbow + 0.1 * thumb / np.linalg.norm(thumb)
    assert wrist_angles(T, flexed, side)[0] > 0.2 > abs(wrist_angles(T, elbow, side)[0])
    assert wrist_angles(T, radial, side)[1] < -0.2 < -abs(wrist_angles(T, elbow, side)[1])


@SIDES
def test_many_frames_at_once_are_each_alone(side: Side) -> None:
    poses = np.stack([world_pose(seed) for seed in range(4)])
    elbows = np.stack([elbow_of(10 * k, -5 * k, T, side) for k, T in enumerate(poses)])
    together = wrist_angles(poses, elbows, side)
    np.testing.assert_allclose(np.rad2deg(together), [[10 * k, -5 * k] for k in range(4)], atol=1e-6)


@pytest.mark.parametrize("side", ["left"])
def test_the_standard_deviations_are_the_spread_over_noisy_joints_and_elbows(side: Side) -> None:
    generator = np.random.default_rng(5)
    T = world_pose(7)
    joints = BuiltinHand(side).joints(REST_ANGLES_RAD, T, MEAN_SHAPE)
    covariance = np.broadcast_to(0.002**2 * np.eye(3), (21, 3, 3))
    root = generator.normal(0, 0.008, (3, 3)) + 0.008 * np.eye(3)
    elbow = elbow_of(25, 12, T, side)
    exact = fit_pose(joints, MEAN_SHAPE[:20], side, covariance)
    assert exact is not None
    found, of_each = [], []
    for _ in range(150):
        noisy = joints + generator.normal(0, 0.002, (21, 3))
        fit = fit_pose(noisy, MEAN_SHAPE[:20], side, covariance, exact)
        assert fit is not None
        found.append(wrist_angles(fit.T_world_hand, elbow + root @ generator.normal(size=3), side))
        pose = pose_covariance(fit, noisy, MEAN_SHAPE[:20], side, covariance)
        assert pose is not None
        of_each.append(wrist_angles_covariance(fit.T_world_hand, elbow, side, pose, root @ root.T))
    said = np.mean(of_each, axis=0)
    spread = np.cov(np.array(found).T)
    # The deviation of 150 has itself one of 6 %; joints at their limits move less than they could.
    np.testing.assert_allclose(np.sqrt(np.diag(spread)), np.sqrt(np.diag(said)), rtol=0.2)
    correlation = said[0, 1] / np.sqrt(said[0, 0] * said[1, 1])
    assert abs(correlation - np.corrcoef(np.array(found).T)[0, 1]) < 0.3
