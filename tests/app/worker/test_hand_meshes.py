"""The worker's hand meshes: they follow the joints, and no hand that cannot be fitted takes anything else down."""

import numpy as np
import pytest

from app.estimators.estimator import Hand
from app.worker.hand_meshes import HandMeshes
from calibration.hand import Side
from models.hand.bone_lengths import HOLD_AFTER, BoneLengths
from models.hand.builtin import BuiltinHand
from models.hand.definition import convert
from models.hand.fitter import HandFitter
from models.hand.mesh import load_mesh
from models.simulation.hands import hands_at
from tests.support.live_run import LiveRun, simulated_rig

TIP_JOINTS = [4, 8, 12, 16, 20]
MESH = load_mesh()


def make_hand(side: Side, joints_m: np.ndarray, number: int, track_id: int = 1, std_m: float = 0.002) -> Hand:
    noisy_m = joints_m + np.random.default_rng(number).normal(0, std_m, (21, 3))
    covariance_m2 = np.tile(np.eye(3) * std_m**2, (21, 1, 1))
    return Hand(
        side=side,
        track_id=track_id,
        capture_time_ns=number * 33_333_333,
        joints_world_m=noisy_m,
        covariance_m2=covariance_m2,
        confidence=np.ones(21),
        detections_px={},
        inliers={},
    )


def tips_of(vertices: bytes) -> np.ndarray:
    """Fingertips (5, 3) of a published mesh, world metres."""
    vertices_m = np.frombuffer(vertices, "<f4").reshape(-1, 3)
    assert len(vertices_m) == len(MESH.rest_vertices_m)
    return vertices_m[MESH.tips]


def test_meshes_of_two_hands_follow_the_true_fingertips_through_noise():
    meshes = HandMeshes()
    errors_m = {"left": [], "right": []}
    for number in range(120):
        true = hands_at(number / 30)
        hands = [make_hand(side, true[side], number, track_id) for track_id, side in enumerate(true)]
        vertices = meshes.fit(hands, "anatomical")
        for track_id, (side, joints_m) in enumerate(true.items()):
            errors_m[side].append(np.linalg.norm(tips_of(vertices[track_id]) - joints_m[TIP_JOINTS], axis=1))
    for side, found in errors_m.items():
        assert np.mean(found[60:]) < 0.004, side


@pytest.mark.parametrize("side", ["left", "right"])
def test_of_a_detectors_joints_the_mesh_is_where_the_hand_is_and_not_where_its_points_are(side: Side):
    meshes, bones, errors_m = HandMeshes(), BoneLengths(), []
    for number in range(120):
        joints_m = hands_at(number / 30)[side]
        hand = make_hand(side, convert(joints_m, "anatomical", "detector", side == "right"), number)
        bones.add(hand.joints_world_m)  # as the estimators do
        hand.bones = bones
        tips_m = tips_of(meshes.fit([hand], "detector")[1])
        errors_m.append(np.linalg.norm(tips_m - joints_m[TIP_JOINTS], axis=1))
    assert np.mean(errors_m[60:]) < 0.004


def test_a_track_that_ended_leaves_no_bone_lengths_to_the_next_of_its_number():
    meshes = HandMeshes()
    joints_m = hands_at(16.75)["right"]
    for scale, first in ((1.25, 0), (0.8, 300)):
        scaled_m = joints_m[0] + scale * (joints_m - joints_m[0])
        vertices = {}
        for number in range(first, first + 100):
            vertices = meshes.fit([make_hand("right", scaled_m, number, std_m=0.0005)], "anatomical")
        error_m = np.linalg.norm(tips_of(vertices[1]) - scaled_m[TIP_JOINTS], axis=1)
        assert error_m.mean() < 0.005, scale


@pytest.mark.parametrize("first", [0, 1000, 2000])
def test_bone_lengths_that_are_held_are_those_of_the_mesh(first):
    meshes, fitter, model = HandMeshes(), HandFitter("right"), BuiltinHand("right")
    vertices, fitted = b"", None
    for number in range(first, first + HOLD_AFTER):
        hand = make_hand("right", hands_at(number / 30)["right"], number)
        vertices = meshes.fit([hand], "anatomical")[1]
        fitted = fitter.fit(hand.joints_world_m, hand.covariance_m2)
    assert fitted is not None
    joints_m, _ = model.pose(fitted.angles_rad, fitted.T_world_hand, fitter.shape)
    np.testing.assert_allclose(tips_of(vertices), joints_m[TIP_JOINTS], atol=1e-6)


def test_a_hand_that_cannot_be_fitted_has_no_mesh_and_disturbs_no_other(monkeypatch):
    meshes = HandMeshes()
    true = hands_at(0.0)
    left, right = make_hand("left", true["left"], 0, 1), make_hand("right", true["right"], 0, 2)
    broken = make_hand("left", np.full((21, 3), np.nan), 0, 1)
    assert list(meshes.fit([broken, right], "anatomical")) == [2]
    assert list(meshes.fit([make_hand("left", np.zeros((21, 3)), 0, 1, std_m=0.0), right], "anatomical")) == [2]

    real = HandFitter.fit

    def failing(fitter: HandFitter, *arguments):
        if fitter.side == "right":
            raise np.linalg.LinAlgError("Singular matrix")
        return real(fitter, *arguments)

    monkeypatch.setattr(HandFitter, "fit", failing)
    assert list(meshes.fit([left, right], "anatomical")) == [1]
    monkeypatch.undo()
    assert sorted(meshes.fit([left, right], "anatomical")) == [1, 2]


@pytest.mark.parametrize("flags", [(), ("--no-mesh",)])
def test_a_live_run_publishes_meshes_that_agree_with_its_joints_unless_told_not_to(tmp_path, flags):
    rig = simulated_rig(tmp_path / "rig.yaml")
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer", *flags) as run:
        sets = run.sets(60)
    assert all(("mesh" in pose_set.stage_ms) == (not flags) for pose_set in sets)
    errors_m = {"left": [], "right": []}
    for hand in [hand for pose_set in sets for hand in pose_set.hands]:
        if flags:
            assert hand.vertices_world_m is None
            continue
        assert hand.vertices_world_m is not None
        tips_m = np.array(hand.joints_world_m)[TIP_JOINTS]
        errors_m[hand.hand].append(np.linalg.norm(tips_of(hand.vertices_world_m) - tips_m, axis=1).mean())
    if not flags:
        assert {side: np.median(found) < 0.003 for side, found in errors_m.items()} == {"left": True, "right": True}


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_a_mesh_is_posed_by_is_told_with_it(side: Side):
    meshes, model = HandMeshes(), BuiltinHand(side)
    hand = make_hand(side, hands_at(1.0)[side], 0)
    vertices = np.frombuffer(meshes.fit([hand], "anatomical")[1], "<f4").reshape(-1, 3)
    told = meshes.fitted(1)
    assert told is not None
    posed = model.pose(np.array(told.hinges_rad), np.array(told.T_world_hand), np.array(told.shape))
    assert np.allclose(posed[1], vertices, atol=1e-6)
    meshes.fit([make_hand(side, np.full((21, 3), np.nan), 1)], "anatomical")
    assert meshes.fitted(1) is None
    assert meshes.fitted(2) is None
