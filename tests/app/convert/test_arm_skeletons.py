"""Skeletons whose hands hang on arms: what readers of BVH, GLB and USD see is where the pose file has the elbows.

The right hand has its elbow and shoulder in some frames, the left one, which has gaps, its elbow alone.
"""

# pyright: reportAttributeAccessIssue=false
# usd-core has no types.

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from app.convert.bvh import write_bvh
from app.convert.conversion import convert
from app.convert.gltf import write_glb
from app.convert.hand_recording import Y_UP, RecordedHand
from app.convert.validity import validity_file
from models.hand.builtin import BuiltinHand
from tests.support.arm_files import (
    DEVIATION_DEG,
    FLEXION_DEG,
    FOREARM_M,
    KNOWN,
    UPPER_ARM_M,
    elbow_of,
    shoulder_of,
)
from tests.support.pose_files import TRACKS
from tests.support.skeleton_files import move_glb, node_named, read_bvh, skinned

WITHIN_M, WITHIN_DEG = 1e-4, 0.1


def check_arm(hand: RecordedHand, place_of: Callable[[str], np.ndarray], axes: np.ndarray) -> None:
    """`place_of` joints (F, 3) in metres, in the file's axes: the arm's where it is known; elsewhere it goes with the
    hand as the last did."""
    assert hand.arm is not None
    elbow_m, shoulder_m = (hand.arm.points_world_m[:, point] @ axes.T for point in (0, 1))
    frames = np.flatnonzero(hand.valid)
    np.testing.assert_allclose(place_of("wrist")[frames], hand.fit.joints_world_m[frames, 0] @ axes.T, atol=1e-6)
    known = np.array(KNOWN[hand.side][0])
    np.testing.assert_allclose(place_of("elbow")[known], elbow_m[known], atol=WITHIN_M)
    # The wrist is bent alike in all frames, so that an arm that is held is where it would be.
    bent_alike = [axes @ elbow_of(T, hand.side) for T in hand.fit.T_world_hand[frames]]
    np.testing.assert_allclose(place_of("elbow")[frames], bent_alike, atol=WITHIN_M)
    if not len(KNOWN[hand.side][1]):
        with pytest.raises(KeyError):
            place_of("shoulder")
        return
    known = np.array(KNOWN[hand.side][1])
    shoulders_m = place_of("shoulder")
    np.testing.assert_allclose(shoulders_m[known], shoulder_m[known], atol=WITHIN_M)
    np.testing.assert_allclose(shoulders_m[known], shoulder_of(elbow_m[known] @ axes) @ axes.T, atol=WITHIN_M)
    upper_m = shoulders_m - place_of("elbow")
    np.testing.assert_allclose(np.linalg.norm(upper_m, axis=1), UPPER_ARM_M, atol=WITHIN_M)
    # Held: the elbow is bent as in the last frame that knew the shoulder.
    forearm_m = place_of("wrist") - place_of("elbow")
    cosine = np.sum(upper_m * forearm_m, axis=1) / UPPER_ARM_M / FOREARM_M
    bend_deg = np.rad2deg(np.arccos(-cosine))
    np.testing.assert_allclose(bend_deg[28:], bend_deg[27], atol=WITHIN_DEG)
    np.testing.assert_allclose(bend_deg[:10], bend_deg[10], atol=WITHIN_DEG)


def test_bvh_has_the_arm_as_the_hands_parents(with_arms, tmp_path):
    write_bvh(tmp_path / "hands.bvh", with_arms)
    places, _ = read_bvh(tmp_path / "hands.bvh")
    text = (tmp_path / "hands.bvh").read_text()
    assert text.index("JOINT right_2_shoulder") < text.index("JOINT right_2_elbow") < text.index("JOINT right_2_wrist")
    for hand in with_arms.hands:
        check_arm(hand, lambda joint, name=hand.name: places[f"{name}_{joint}"] / 100, Y_UP)
        for number, joint in enumerate(("index_MCP", "little_DIP")):
            expected = hand.fit.joints_world_m[:, (5, 19)[number]] @ Y_UP.T
            np.testing.assert_allclose(
                places[f"{hand.name}_{joint}"][hand.valid] / 100, expected[hand.valid], atol=WITHIN_M
            )


def test_the_wrists_turn_in_bvh_is_its_flexion_and_deviation(with_arms, tmp_path):
    """From the rest pose, in which hand and forearm are in line."""
    write_bvh(tmp_path / "hands.bvh", with_arms)
    hierarchy, motion = (tmp_path / "hands.bvh").read_text().split("MOTION\n")
    # Channels before the wrist's: six of the root `hands`, six of the shoulder, three of the elbow.
    assert hierarchy.index("right_2_wrist") < hierarchy.index("left_4")
    values = np.array([[float(field) for field in line.split()] for line in motion.strip().split("\n")[2:]])
    turn = Rotation.from_euler("ZXY", values[:, 15:18], degrees=True)
    bent = Rotation.from_euler("ZX", [FLEXION_DEG, DEVIATION_DEG], degrees=True)
    np.testing.assert_allclose(np.rad2deg(turn.magnitude()), np.rad2deg(bent.magnitude()), atol=WITHIN_DEG)


def test_another_reader_sees_the_arm_in_bvh(with_arms, tmp_path):
    bvhio = pytest.importorskip("bvhio", reason="needs bvhio: pip install 'usthand-live[test]'")
    write_bvh(tmp_path / "hands.bvh", with_arms)
    root = bvhio.readAsHierarchy(str(tmp_path / "hands.bvh"))
    places: dict[str, np.ndarray] = {}
    for frame in range(with_arms.frames):
        root.loadPose(frame)
        for joint, _, _ in root.layout():
            place = places.setdefault(joint.Name, np.zeros((with_arms.frames, 3)))
            place[frame] = np.array(joint.PositionWorld) / 100
    for hand in with_arms.hands:
        check_arm(hand, lambda joint, name=hand.name: places[f"{name}_{joint}"], Y_UP)


def test_the_file_beside_a_bvh_tells_known_joints_of_arms_from_held_ones(arm_file, tmp_path):
    convert(arm_file, tmp_path / "hands.bvh")
    rows = validity_file(tmp_path / "hands.bvh").read_text().split()
    assert rows[0] == "frame,right_2,left_4,right_2_shoulder,right_2_elbow,left_4_elbow"
    said = np.array([[int(field) for field in row.split(",")] for row in rows[1:]])
    for column, frames in ((3, KNOWN["right"][1]), (4, KNOWN["right"][0]), (5, KNOWN["left"][0])):
        assert np.flatnonzero(said[:, column]).tolist() == list(frames)


def test_glb_moves_the_arm_and_the_mesh_follows_the_hand(with_arms, tmp_path):
    pygltflib = pytest.importorskip("pygltflib", reason="pygltflib, the reader of GLB, is not installed")
    write_glb(tmp_path / "hands.glb", with_arms)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "hands.glb"))
    world, scale = move_glb(gltf)

    def place_of(hand: RecordedHand, joint: str) -> np.ndarray:
        try:
            return world[node_named(gltf, f"{hand.name}_{joint}"), :, :3, 3]
        except StopIteration:
            raise KeyError(joint) from None

    for number, hand in enumerate(with_arms.hands):
        check_arm(hand, lambda joint, hand=hand: place_of(hand, joint), Y_UP)
        root = "shoulder" if hand.side == "right" else "elbow"
        np.testing.assert_array_equal(scale[node_named(gltf, f"{hand.name}_{root}")], hand.valid)
        skin = gltf.skins[number]
        assert [gltf.nodes[joint].name for joint in skin.joints[:1]] == [f"{hand.name}_{root}"]
        for frame in (12, 18):
            pose = BuiltinHand(hand.side).pose(
                hand.fit.hinges_rad[frame], hand.fit.T_world_hand[frame], hand.fit.shape
            )[1]
            np.testing.assert_allclose(skinned(gltf, number, world, frame), pose @ Y_UP.T, atol=WITHIN_M)
    arms = gltf.asset.extras["arms"]
    right, left = arms[f"right_{TRACKS['right']}"], arms[f"left_{TRACKS['left']}"]
    assert right["shoulder"]["bone_m"] == pytest.approx(UPPER_ARM_M, abs=WITHIN_M)
    assert left["elbow"]["bone_m"] == pytest.approx(FOREARM_M, abs=WITHIN_M)
    held_s = [with_arms.times_s[[a, b]].tolist() for a, b in ((0, 4), (30, 39))]
    assert right["elbow"]["held_s"] == held_s


def test_usd_core_evaluates_the_arm_and_the_skin_follows_the_hand(with_arms, tmp_path):
    pytest.importorskip("pxr", reason="needs usd-core: pip install 'usthand-live[usd]'")
    from pxr import Usd, UsdGeom, UsdSkel

    from app.convert.usd import write_usd

    write_usd(tmp_path / "hands.usdc", with_arms)
    stage = Usd.Stage.Open(str(tmp_path / "hands.usdc"))
    cache = UsdSkel.Cache()
    for hand in with_arms.hands:
        root = UsdSkel.Root(stage.GetPrimAtPath(f"/hands/{hand.name}"))
        cache.Populate(root, Usd.PrimDefaultPredicate)
        skeleton = stage.GetPrimAtPath(f"/hands/{hand.name}/skeleton")
        query = cache.GetSkelQuery(UsdSkel.Skeleton(skeleton))
        names = [str(path).rpartition("/")[2] for path in query.GetJointOrder()]
        assert query.GetTopology().Validate()[0]
        moved = np.array([np.array(query.ComputeJointSkelTransforms(frame)) for frame in range(with_arms.frames)])
        places = dict(zip(names, moved[:, :, 3, :3].swapaxes(0, 1), strict=True))
        check_arm(hand, lambda joint, places=places: places[joint], np.eye(3))
        known = [skeleton.GetAttribute("userProperties:elbow_known").Get(frame) for frame in range(40)]
        assert np.flatnonzero(known).tolist() == list(KNOWN[hand.side][0])
        mesh = stage.GetPrimAtPath(f"/hands/{hand.name}/mesh")
        points = UsdGeom.Mesh(mesh).GetPointsAttr().Get()
        assert cache.GetSkinningQuery(mesh).ComputeSkinnedPoints(query.ComputeSkinningTransforms(12), points, 12)
        pose = BuiltinHand(hand.side).pose(hand.fit.hinges_rad[12], hand.fit.T_world_hand[12], hand.fit.shape)[1]
        np.testing.assert_allclose(np.array(points), pose, atol=WITHIN_M)
