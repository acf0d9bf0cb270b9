"""Two hands that touch: near each other and never inside one another; rings and watches where they are worn."""

import numpy as np
import open3d as o3d
import pytest

from models.hand.mesh import load_mesh
from models.hand.skeleton import REST_JOINTS_M
from models.simulation.scene import PosedHand
from models.simulation.simulated_rig import ring_rig
from models.simulation.simulated_scene import SceneSettings, random_scene
from models.simulation.skin import Skin, hand_surface
from models.simulation.surfaces import at_texels
from models.simulation.worn import Watch, Worn


def distances_m(hand: PosedHand, points_m: np.ndarray) -> np.ndarray:
    """(N,): of points from the hand's skin, negative inside, by Open3D."""
    scene = o3d.t.geometry.RaycastingScene()
    vertices, faces = hand.vertices_start_m.astype(np.float32), hand.surface.faces.astype(np.uint32)
    scene.add_triangles(o3d.core.Tensor.from_numpy(vertices), o3d.core.Tensor.from_numpy(faces))
    return scene.compute_signed_distance(o3d.core.Tensor.from_numpy(points_m.astype(np.float32)), nsamples=3).numpy()


@pytest.mark.parametrize("in_front", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_two_hands_touch_and_do_not_go_through_one_another(in_front: bool, seed: int) -> None:
    scene = random_scene(ring_rig(4), seed, SceneSettings(touching=1.0, anywhere=not in_front))
    apart = []
    for time_s in (0.0, 1.7, 3.1):
        left, right = scene.state(time_s).hands
        assert (left.side, right.side) == ("left", "right")
        apart.append(distances_m(right, left.vertices_start_m).min())
    assert min(apart) > -0.004, "skin gives way by 3 mm"
    assert np.median(apart) < 0.02, "near each other, where they were not shifted apart"


def test_a_touching_hand_moves_without_jumps() -> None:
    scene = random_scene(ring_rig(4), 2, SceneSettings(touching=1.0))
    times_s = np.arange(0, 4, 0.005)
    left, right = (
        np.array([scene.hands(time_s)[side].joints_world_m for time_s in times_s]) for side in ("left", "right")
    )
    steps_m = [np.linalg.norm(np.diff(joints_m, axis=0), axis=-1).max(1) for joints_m in (left, right)]
    assert steps_m[0].max() < 2 * steps_m[1].max()


def test_hands_that_do_not_touch_are_as_they_were() -> None:
    rig = ring_rig(4)
    before = random_scene(rig, 5, SceneSettings()).hands(0.4)
    now = random_scene(rig, 5, SceneSettings(touching=1e-9, worn=1.0)).hands(0.4)
    for name, hand in before.items():
        np.testing.assert_array_equal(hand.joints_world_m, now[name].joints_world_m)


def test_what_is_worn_covers_its_finger_and_the_wrist_alone() -> None:
    mesh = load_mesh()
    watch = Watch(behind_m=0.025, strap=(0.01, 0.01, 0.01), strap_m=0.02, dial=(0.8, 0.8, 0.8), dial_m=0.03)
    plain = hand_surface(mesh, mesh.faces, Skin()).texels.astype(int)
    worn = Worn(rings=((3, (0.7, 0.5, 0.2)),), watch=watch)
    changed = (hand_surface(mesh, mesh.faces, Skin(worn=worn)).texels.astype(int) != plain).any(-1)
    points_m = at_texels(mesh.rest_vertices_m, mesh.faces)
    from_ring_m = np.linalg.norm(points_m - (0.45 * REST_JOINTS_M[13] + 0.55 * REST_JOINTS_M[14]), axis=-1)
    on_arm = np.abs(points_m[..., 0] + 0.025) < 0.017
    assert changed.any() and (changed <= (from_ring_m < 0.02) | on_arm).all()
    assert changed[from_ring_m < 0.009].any() and changed[on_arm].mean() > 0.5
