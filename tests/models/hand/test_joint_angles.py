"""Joint angles by the ISB: known turns are recovered, both hands have the same signs, deviations are those of a fit."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calibration.hand import Side
from models.hand import skeleton
from models.hand.angle_prior import SPREADING, last_joints_follow, spread_as_before, spread_within_limits
from models.hand.builtin import BuiltinHand
from models.hand.fit import fit_pose
from models.hand.joint_angles import (
    JOINT_ANGLE_NAMES,
    JOINT_ANGLES,
    cardan_angles,
    joint_angles,
    joint_angles_covariance,
)
from models.hand.shape import MEAN_SHAPE

# ISB's X, Y and Z as columns, in the skeleton's axes of a right hand's bone.
ISB_AXES = np.array([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]])
HINGES = dict(zip(skeleton.ANGLE_NAMES, range(skeleton.ANGLES), strict=True))


def angles_of(**hinges_deg: float) -> dict[str, float]:
    """The ISB angles in degrees of a hand whose hinges are at 0 but for these."""
    hinges = np.zeros(skeleton.ANGLES)
    for name, angle in hinges_deg.items():
        hinges[HINGES[name]] = np.deg2rad(angle)
    return dict(zip(JOINT_ANGLE_NAMES, np.rad2deg(joint_angles(hinges)), strict=True))


def middle_pose(seed: int) -> np.ndarray:
    """Hinges (21,) well within their limits."""
    low, high = skeleton.LIMITS_RAD.T
    return low + (high - low) * np.random.default_rng(seed).uniform(0.35, 0.65, skeleton.ANGLES)


def world_pose(seed: int) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    T[:3, 3] = [0.1, -0.2, 0.6]
    return T


def test_there_are_22_angles_named_by_joint_and_turn() -> None:
    assert len(JOINT_ANGLE_NAMES) == len(set(JOINT_ANGLE_NAMES)) == 22
    assert JOINT_ANGLE_NAMES[:6] == (
        *("thumb_CMC_flexion", "thumb_CMC_abduction", "thumb_CMC_rotation"),
        *("thumb_MCP_flexion", "thumb_MCP_abduction", "thumb_IP_flexion"),
    )
    assert JOINT_ANGLE_NAMES[-4:] == (
        "little_MCP_flexion",
        "little_MCP_abduction",
        "little_PIP_flexion",
        "little_DIP_flexion",
    )


def test_cardan_angles_are_those_of_scipy_in_the_axes_of_the_isb() -> None:
    generator = np.random.default_rng(1)
    turns = generator.uniform(-1.4, 1.4, (50, 3))
    R_isb = Rotation.from_euler("ZXY", turns).as_matrix()
    np.testing.assert_allclose(cardan_angles(ISB_AXES @ R_isb @ ISB_AXES.T), turns, atol=1e-12)
    assert np.linalg.det(ISB_AXES) == pytest.approx(1)


def test_known_turns_of_the_built_in_hand_are_recovered() -> None:
    got = angles_of(index_base_flexion=40, index_base_abduction=-8, ring_middle_flexion=70, thumb_distal_flexion=25)
    expected = dict.fromkeys(JOINT_ANGLE_NAMES, 0.0) | {
        "index_MCP_flexion": 40,
        "index_MCP_abduction": 8,
        "ring_PIP_flexion": 70,
        "thumb_IP_flexion": 25,
    }
    assert got == pytest.approx(expected, abs=1e-9)


def test_the_oblique_hinges_of_the_thumbs_base_give_three_turns() -> None:
    hinges = np.zeros(skeleton.ANGLES)
    hinges[:2] = np.deg2rad([22, 15])
    bend, spread = (
        Rotation.from_rotvec(axis * turn) for axis, turn in zip(skeleton.HINGE_AXES[0, 0], hinges, strict=False)
    )
    R_isb = ISB_AXES.T @ (bend * spread).as_matrix() @ ISB_AXES
    np.testing.assert_allclose(joint_angles(hinges)[:3], Rotation.from_matrix(R_isb).as_euler("ZXY"), atol=1e-12)
    assert np.abs(np.rad2deg(joint_angles(hinges)[2])) > 2


@pytest.mark.parametrize("side", ["right", "left"])
def test_signs_are_the_isbs_on_both_hands(side: Side) -> None:
    """Told from the posed hand alone: to the palm is flexion, to the little finger abduction, on either side."""
    hand, T = BuiltinHand(side), world_pose(2)

    def index_tip(**hinges_deg: float) -> np.ndarray:
        hinges = np.zeros(skeleton.ANGLES)
        for name, angle in hinges_deg.items():
            hinges[HINGES[name]] = np.deg2rad(angle)
        joints, vertices = hand.pose(hinges, T, MEAN_SHAPE)
        palm = vertices[hand.mesh.palm > 0.5].mean(axis=0) - vertices[hand.mesh.palm < 0.5].mean(axis=0)
        little = joints[17] - joints[5]
        return np.array([joints[8] @ palm, joints[8] @ little])

    straight = index_tip()
    for hinge, angle, axis in (("index_base_flexion", 20, 0), ("index_base_abduction", -10, 1)):
        moved = index_tip(**{hinge: angle}) - straight
        named = angles_of(**{hinge: angle})
        turned = max(named, key=lambda name: abs(named[name]))
        assert turned == ("index_MCP_flexion", "index_MCP_abduction")[axis]
        assert moved[axis] > 0 and named[turned] > 0


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_fit_to_a_posed_hand_has_its_angles(side: Side) -> None:
    hinges = middle_pose(3)
    joints = BuiltinHand(side).joints(hinges, world_pose(4), MEAN_SHAPE)
    fit = fit_pose(joints, MEAN_SHAPE[:20], side, iterations=40)
    assert fit is not None
    np.testing.assert_allclose(np.rad2deg(joint_angles(fit.angles_rad)), np.rad2deg(joint_angles(hinges)), atol=0.1)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_standard_deviations_are_the_spread_of_fits_to_noisy_joints(side: Side) -> None:
    generator = np.random.default_rng(5)
    joints = BuiltinHand(side).joints(middle_pose(6), world_pose(7), MEAN_SHAPE)
    root = generator.normal(0, 0.0006, (21, 3, 3)) + 0.0008 * np.eye(3)
    covariance = root @ root.swapaxes(1, 2)
    exact = fit_pose(joints, MEAN_SHAPE[:20], side, covariance)
    assert exact is not None
    fitted, said = [], []
    for _ in range(400):
        noisy = joints + np.einsum("jab,jb->ja", root, generator.normal(size=(21, 3)))
        fit = fit_pose(noisy, MEAN_SHAPE[:20], side, covariance, exact)
        assert fit is not None
        fitted.append(joint_angles(fit.angles_rad))
        of_this = joint_angles_covariance(fit, noisy, MEAN_SHAPE[:20], side, covariance)
        assert of_this is not None
        said.append(np.diag(of_this))
    # The deviation of 400 has itself one of 3.5 %.
    np.testing.assert_allclose(np.std(fitted, axis=0), np.sqrt(np.mean(said, axis=0)), rtol=0.15)


def test_joints_that_lie_farther_from_the_hand_than_was_said_make_its_angles_as_unsure() -> None:
    """Half of the way: with twice the deviation that was said, by the root of (1 + 4) / 2."""
    generator = np.random.default_rng(8)
    joints = BuiltinHand().joints(middle_pose(6), world_pose(7), MEAN_SHAPE)
    covariance = np.broadcast_to(0.001**2 * np.eye(3), (21, 3, 3))
    said: dict[float, list[np.ndarray]] = {1.0: [], 2.0: []}
    for times, deviations in said.items():
        for _ in range(40):
            noisy = joints + generator.normal(0, 0.001 * times, (21, 3))
            fit = fit_pose(noisy, MEAN_SHAPE[:20], "right", covariance)
            assert fit is not None
            of_this = joint_angles_covariance(fit, noisy, MEAN_SHAPE[:20], "right", covariance)
            assert of_this is not None
            deviations.append(np.sqrt(np.diag(of_this)))
    ratio = np.mean(said[2.0], axis=0) / np.mean(said[1.0], axis=0)
    assert np.median(ratio) == pytest.approx(np.sqrt(2.5), rel=0.05)


def test_what_is_known_before_helps_where_joints_are_measured_badly_and_yields_where_they_are_measured_well() -> None:
    """Of hands that keep to the rule give or take its deviation, errors are smaller, and as large as is said."""
    generator = np.random.default_rng(2)
    prior = last_joints_follow()
    covariance = np.broadcast_to(0.004**2 * np.eye(3), (21, 3, 3))
    errors, plain_errors, said = [], [], []
    for _ in range(60):
        hinges = middle_pose(int(generator.integers(1000)))
        for row, sd_rad in zip(prior.matrix, prior.sd_rad, strict=True):
            middle, last = np.flatnonzero(row)
            hinges[last] = -row[middle] * hinges[middle] + generator.normal(0, sd_rad)
        exact_m = BuiltinHand().joints(hinges, world_pose(4), MEAN_SHAPE)
        noisy_m = exact_m + generator.normal(0, 0.004, (21, 3))
        known = fit_pose(noisy_m, MEAN_SHAPE[:20], "right", covariance, prior=prior)
        plain = fit_pose(noisy_m, MEAN_SHAPE[:20], "right", covariance)
        assert known is not None and plain is not None
        of_known = joint_angles_covariance(known, noisy_m, MEAN_SHAPE[:20], "right", covariance, prior)
        assert of_known is not None
        truth = joint_angles(hinges)
        errors.append(joint_angles(known.angles_rad) - truth)
        plain_errors.append(joint_angles(plain.angles_rad) - truth)
        said.append(np.sqrt(np.diag(of_known)))
        well = fit_pose(exact_m, MEAN_SHAPE[:20], "right", covariance / 64, known, prior=prior)
        assert well is not None
        np.testing.assert_allclose(np.rad2deg(joint_angles(well.angles_rad) - truth), 0, atol=5.0)
    flexion = np.array([angle.turn == "flexion" for angle in JOINT_ANGLES])
    rms = [np.sqrt(np.mean(np.array(each)[:, flexion] ** 2)) for each in (errors, plain_errors)]
    assert rms[0] < 0.8 * rms[1]
    within = np.mean(np.abs(errors) < said)
    assert 0.6 < within < 0.76, "of a normal distribution 68 %"


def test_how_far_fingers_are_spread_is_learnt_and_before_that_anywhere_within_the_limits() -> None:
    assert [skeleton.ANGLE_NAMES[hinge] for hinge in SPREADING][1:] == [
        f"{finger}_base_abduction" for finger in ("index", "middle", "ring", "little")
    ]
    generator = np.random.default_rng(3)
    hinges = generator.normal(np.deg2rad(4), np.deg2rad(6), (400, skeleton.ANGLES))
    hinges[:20] += 1.0  # a few frames that are wrong
    learnt, before = spread_as_before(hinges, least_sd_deg=0), spread_within_limits()
    np.testing.assert_allclose(np.rad2deg(learnt.mean_rad), 4, atol=1.5)
    np.testing.assert_allclose(np.rad2deg(learnt.sd_rad), 6, rtol=0.25)
    assert np.rad2deg(spread_as_before(0 * hinges).sd_rad) == pytest.approx(3)
    low, high = skeleton.LIMITS_RAD[SPREADING].T
    uniform = generator.uniform(low, high, (20_000, 5))
    np.testing.assert_allclose(before.mean_rad, uniform.mean(0), atol=0.005)
    np.testing.assert_allclose(before.sd_rad, uniform.std(0), rtol=0.03)
    both = last_joints_follow().and_also(learnt)
    expected = np.concatenate([last_joints_follow().residuals(hinges[0]), learnt.residuals(hinges[0])])
    np.testing.assert_array_equal(both.residuals(hinges[0]), expected)


def test_every_angle_is_of_a_joint_that_turns() -> None:
    assert {angle.joint for angle in JOINT_ANGLES} == {joint for joint in range(1, 21) if joint % 4}


def test_a_covariance_that_is_not_finite_gives_none() -> None:
    joints = BuiltinHand().joints(middle_pose(6), np.eye(4), MEAN_SHAPE)
    fit = fit_pose(joints, MEAN_SHAPE[:20])
    assert fit is not None
    assert joint_angles_covariance(fit, joints, MEAN_SHAPE[:20], "right", np.full((21, 3, 3), np.nan)) is None
