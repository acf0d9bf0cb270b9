"""The built-in hand's mesh: closed, sized like people's hands, and skinned so that bending keeps its volume."""

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from models.hand import skeleton
from models.hand.builtin import BuiltinHand
from models.hand.mesh import MESH_FILE, load_mesh
from models.tools import sdf
from models.tools.build_mesh import build
from models.tools.form import mean_hand

MESH = load_mesh()
HAND = BuiltinHand("right", MESH)
REST = skeleton.chain(skeleton.REST_ANGLES_RAD, skeleton.MEAN_BONE_LENGTHS_M)
FINGERS = ("thumb", "index", "middle", "ring", "little")
TIP_JOINTS = [4, 8, 12, 16, 20]


def posed(angles_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return HAND.pose(angles_rad, np.eye(4), HAND.default_shape())


def volume_cm3(vertices_m: np.ndarray) -> float:
    a, b, c = (vertices_m[MESH.faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6 * 1e6)


def outline(vertices_m: np.ndarray, point: np.ndarray, normal: np.ndarray, finger: int | None = None) -> np.ndarray:
    """Edges (n, 2, 3) of the cut through the mesh, or only through a finger, at a point and relative to it."""
    height = (vertices_m - point) @ normal
    above = height > 0
    cut = []
    own = np.ones(len(above)) if finger is None else MESH.weights[:, 1 + 3 * finger : 4 + 3 * finger].sum(axis=1)
    is_cut = above[MESH.faces].any(axis=1) & ~above[MESH.faces].all(axis=1) & (own[MESH.faces] > 0.8).all(axis=1)
    for face in MESH.faces[is_cut]:
        ends = {}
        for a, b in zip(face, np.roll(face, -1), strict=True):
            if above[a] != above[b]:
                share = height[a] / (height[a] - height[b])
                ends[above[a]] = vertices_m[a] + share * (vertices_m[b] - vertices_m[a]) - point
        cut.append((ends[True], ends[False]))
    return np.array(cut)


def breadths_mm(point: np.ndarray, along: np.ndarray, axes, finger: int | None = None) -> list[float]:
    cut = outline(MESH.rest_vertices_m, point, along, finger)
    return [1000 * float(np.ptp(cut @ axis)) for axis in axes]


def test_surface_is_closed_in_one_piece_without_holes_and_faces_outwards():
    faces, count = MESH.faces, len(MESH.rest_vertices_m)
    assert 1500 <= count <= 3000
    assert MESH_FILE.stat().st_size < 400_000
    directed = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(directed)
    assert set(map(tuple, directed)) == set(map(tuple, directed[:, ::-1]))
    assert count - len(directed) // 2 + len(faces) == 2
    assert np.array_equal(np.unique(faces), np.arange(count))
    links = coo_matrix((np.ones(len(directed)), (directed[:, 0], directed[:, 1])), shape=(count, count))
    assert connected_components(links, directed=False)[0] == 1
    # A hand of 350 cm3 with 60 mm of forearm.
    assert 380 < volume_cm3(MESH.rest_vertices_m) < 500


def test_triangles_are_even_and_smallest_on_the_fingertips():
    corners = MESH.rest_vertices_m[MESH.faces]
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    evenness = 4 * np.sqrt(3) * area / np.sum(sides**2, axis=1)  # 1: equilateral
    assert evenness.min() > 0.3
    assert np.percentile(evenness, 2) > 0.7
    near_tip = np.isin(MESH.faces, np.flatnonzero(MESH.nail > 0.5)).all(axis=1)
    assert np.median(sides[near_tip]) < 0.6 * np.median(sides)


def test_vertices_lie_on_the_form_that_the_script_describes():
    assert np.abs(mean_hand().distance_mm(1000 * MESH.rest_vertices_m)).max() < 0.02


@pytest.mark.slow
def test_script_makes_the_stored_mesh():
    """Another processor rounds otherwise, which may divide the same form into triangles otherwise."""
    made = build()
    with np.load(MESH_FILE) as stored:
        assert {name: made[name].dtype for name in made} == {name: stored[name].dtype for name in stored}
        old, new = stored["rest_vertices_m"], made["rest_vertices_m"]
        assert len(new) == pytest.approx(len(old), rel=0.02)
        for some, others in ((old, new), (new, old)):
            distance_m, _ = KDTree(others).query(some)
            assert np.median(distance_m) < 0.002
            assert distance_m.max() < 0.009
        assert new[made["tips"]] == pytest.approx(old[stored["tips"]], abs=1e-4)


def test_sizes_are_those_of_published_means():
    axes = REST.rotations.swapaxes(-1, -2)  # (5, 3, 3, 3): rows along, lateral, up
    joints = REST.joints_m
    index_middle = breadths_mm(joints[6], axes[1, 1, 0], axes[1, 1, 1:], 1)
    assert index_middle == pytest.approx([19.5, 17.5], abs=1.0)
    assert breadths_mm(joints[7], axes[1, 2, 0], axes[1, 2, 1:2], 1) == pytest.approx([17.0], abs=1.0)
    assert breadths_mm(joints[3], axes[0, 2, 0], axes[0, 2, 1:2], 0) == pytest.approx([21.0], abs=1.0)
    x, y = np.eye(3)[:2]
    at_heads = (np.abs(MESH.rest_vertices_m[:, 0] - 0.078) < 0.004) & (MESH.weights[:, 1:4].sum(axis=1) < 0.3)
    assert 1000 * np.ptp(MESH.rest_vertices_m[at_heads, 1]) == pytest.approx(81.5, abs=3.5)
    under_middle = np.abs(MESH.rest_vertices_m[:, :2] - joints[9, :2]).max(axis=1) < 0.006
    assert 1000 * np.ptp(MESH.rest_vertices_m[under_middle, 2]) == pytest.approx(30.5, abs=2)
    wrist = outline(MESH.rest_vertices_m, np.array([-0.010, 0, 0]), x)
    assert 1000 * np.linalg.norm(wrist[:, 0] - wrist[:, 1], axis=1).sum() == pytest.approx(163, abs=5)
    forearm, palm = (breadths_mm(np.array([at, 0, 0]), x, [y])[0] for at in (-0.045, 0.03))
    assert breadths_mm(np.array([-0.010, 0, 0]), x, [y])[0] < min(forearm, palm) - 2


def test_weights_are_shares_of_at_most_four_bones():
    assert MESH.weights.shape == (len(MESH.rest_vertices_m), 16)
    assert (MESH.weights >= 0).all()
    assert (MESH.weights > 0).sum(axis=1).max() <= 4
    with np.load(MESH_FILE) as stored:
        assert np.abs(stored["weights"].sum(axis=1) - 1).max() < 1e-5


def test_fingers_are_apart_and_move_with_no_neighbour():
    fingers = mean_hand().fingers
    own = np.array([finger(1000 * MESH.rest_vertices_m) for finger in fingers])
    beyond_web = []
    webs = (1.2, 0.7, 0.7, 0.7, 0.85)  # stations of models.tools.sdf.Sweep
    for number, (finger, web) in enumerate(zip(fingers, webs, strict=True)):
        station = finger.coordinates(1000 * MESH.rest_vertices_m)[0]
        is_free = (np.argmin(own, axis=0) == number) & (station > web)
        others = np.delete(MESH.weights, [0, *range(1 + 3 * number, 4 + 3 * number)], axis=1)
        assert is_free.sum() > 150
        assert others[is_free].max() < 0.02
        beyond_web.append(MESH.rest_vertices_m[is_free])
    for one, next_one in zip(beyond_web[:-1], beyond_web[1:], strict=True):
        assert KDTree(one).query(next_one)[0].min() > 0.002


def test_tip_vertices_stay_at_the_last_joints():
    rng = np.random.default_rng(3)
    for angles_rad in (skeleton.REST_ANGLES_RAD, *rng.uniform(*skeleton.LIMITS_RAD.T, size=(20, 21))):
        joints_m, vertices_m = posed(angles_rad)
        assert np.linalg.norm(vertices_m[MESH.tips] - joints_m[TIP_JOINTS], axis=1).max() < 0.001


@pytest.mark.parametrize("finger", range(5))
@pytest.mark.parametrize("bone", [1, 2])
def test_bent_joints_keep_their_section(finger, bone):
    part = {(True, 1): "proximal", (True, 2): "distal", (False, 1): "middle", (False, 2): "distal"}[finger == 0, bone]
    angle = skeleton.ANGLE_NAMES.index(f"{FINGERS[finger]}_{part}_flexion")
    joint = 1 + 4 * finger + bone
    areas = []
    for bend_rad in (0.0, min(np.pi / 2, skeleton.LIMITS_RAD[angle, 1])):
        angles_rad = skeleton.REST_ANGLES_RAD.copy()
        angles_rad[angle] = bend_rad
        joints_m, vertices_m = posed(angles_rad)
        before, after = joints_m[joint] - joints_m[joint - 1], joints_m[joint + 1] - joints_m[joint]
        halfway = before / np.linalg.norm(before) + after / np.linalg.norm(after)
        halfway /= np.linalg.norm(halfway)
        edges = outline(vertices_m, joints_m[joint], halfway, finger)
        areas.append(abs(np.cross(edges[:, 0], edges[:, 1]).sum(axis=0) @ halfway) / 2)
    assert areas[1] > 0.7 * areas[0]


def test_a_fist_keeps_the_volume():
    fist = np.clip(np.deg2rad([20, 0, 30, 0, 40, *[80, 0, 95, 60] * 4]), *skeleton.LIMITS_RAD.T)
    assert volume_cm3(posed(fist)[1]) > 0.9 * volume_cm3(MESH.rest_vertices_m)


def test_nails_lie_on_the_backs_of_the_last_bones_and_the_palm_faces_down():
    corners = MESH.rest_vertices_m[MESH.faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for finger in range(5):
        bone, joints_m = REST.rotations[finger, 2], REST.joints_m[3 + 4 * finger : 5 + 4 * finger]
        local = (MESH.rest_vertices_m - joints_m[1]) @ bone
        nail = (MESH.nail > 0.5) & (np.linalg.norm(local, axis=1) < 0.018)
        assert 20 < nail.sum() < 120
        assert (local[nail, 2] > 0).all()
        length = np.linalg.norm(joints_m[1] - joints_m[0])
        assert (local[nail, 0] > -0.75 * length).all() and (local[nail, 0] < 0).all()
        beside = (np.abs(local[:, 0] + 0.008) < 0.003) & (MESH.weights[:, 3 + 3 * finger] > 0.9)
        assert 0.5 < np.ptp(local[nail, 1]) / np.ptp(local[beside, 1]) < 0.9
        on_nail = nail[MESH.faces].all(axis=1)
        mean = face_normals[on_nail].sum(axis=0)
        assert mean @ bone[:, 2] > 0.85 * np.linalg.norm(mean)
    # Over the metacarpals the mask tells the two sides apart.
    x, y, z = MESH.rest_vertices_m.T
    over_palm = (x > 0.03) & (x < 0.08) & (np.abs(y) < 0.02)
    assert MESH.palm[over_palm & (z > 0.005)].max() < 0.1
    assert MESH.palm[over_palm & (z < -0.008)].min() > 0.9


def test_round_cone_is_the_union_of_its_spheres():
    rng = np.random.default_rng(0)
    start, end, points = np.array([1.0, 2, 3]), np.array([4.0, 0, 5]), rng.uniform(-5, 9, (500, 3))
    t = np.linspace(0, 1, 4001)[:, None, None]
    spheres = np.linalg.norm(points - start - t * (end - start), axis=-1) - (1.5 + t[..., 0] * (0.6 - 1.5))
    np.testing.assert_allclose(sdf.round_cone(points, start, end, 1.5, 0.6), spheres.min(axis=0), atol=1e-3)


def test_triangle_is_as_far_as_its_nearest_point():
    rng = np.random.default_rng(1)
    corners, points = rng.normal(0, 2, (3, 3)), rng.uniform(-5, 5, (300, 3))
    a, b = np.meshgrid(np.linspace(0, 1, 401), np.linspace(0, 1, 401))
    inside = np.stack([1 - a - b, a, b], axis=-1)[a + b <= 1 + 1e-9] @ corners
    np.testing.assert_allclose(
        sdf.triangle(points, corners[0], corners[1], corners[2], 0.5), KDTree(inside).query(points)[0] - 0.5, atol=2e-3
    )


def test_round_sweep_is_a_rod_with_a_pole_at_its_end():
    bones = np.array([[0.0, 0, 0], [3, 0, 0], [7, 0, 0]])
    rod = sdf.Sweep(
        joints=bones,
        axes=np.tile(np.eye(3), (2, 1, 1)),
        profile=np.array([[-0.5, 1, 1, 1], [2, 1, 1, 1.0]]),
        cap=1.0,
        exponent=2,
    )
    across = np.array([[1.0, 0.6, 0.8], [4, 0, -1], [5.5, 1, 0], [7, 0, 0], [6.6, 0.6 * 0.8, 0.8 * 0.8]])
    np.testing.assert_allclose(rod(across), 0, atol=1e-12)
    middle = np.array([5.0, 0, 0])
    assert (rod(0.9 * across + 0.1 * middle) < 0).all() and (rod(1.1 * across - 0.1 * middle) > 0).all()


def test_smooth_union_fills_the_seam_only():
    a, b = np.array([0.3, 2.0, -1.0, 0.0]), np.array([0.3, 0.5, 1.0, 0.0])
    np.testing.assert_allclose(sdf.smooth_union(a, b, 1.0), [0.3 - 0.25, 0.5, -1.0, -0.25])
    np.testing.assert_allclose(sdf.smooth_difference(a, b, 1.0), [0.34, 2.0, -0.75, 0.25])
