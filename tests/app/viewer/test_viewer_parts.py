"""The viewer's parts that need no window: figures, state, geometry, drawing on images, video."""

import itertools
import tracemalloc
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from app.transport.messages import CameraReport, End, PoseSet, UnseenPose
from app.viewer import palette
from app.viewer.font import draw_text, text_mask, text_width
from app.viewer.hand_surface import HandSurface
from app.viewer.panels import Strip, Undistorter, draw_hand, tile_size
from app.viewer.skeleton import FINGER_OF_JOINT
from app.viewer.skeleton_mesh import SKELETON_TRIANGLES, skeleton_shape
from app.viewer.stage import image_corners_m, on_ground, stage_of
from app.viewer.state import Shown
from app.viewer.stats import RollingStats
from app.viewer.uncertainty import cloud, joint_std_m, std_rgb
from app.viewer.view import camera_view
from calibration.camera import Camera
from calibration.camera_source import MAX_CAMERAS
from calibration.hand import Side
from calibration.rig import RigCamera
from models.hand.mesh import load_mesh
from models.simulation.hands import hands_at
from tests.support.viewer_scene import TARGET_M, make_meshed_pose, make_pose, make_rig, make_set, report

SECOND = 1_000_000_000


def test_rate_and_latency_are_those_of_the_last_seconds():
    stats = RollingStats()
    rng = np.random.default_rng(0)
    old = [make_set(int(t * SECOND), 900_000_000) for t in np.arange(0, 4, 0.1)]
    latencies_ms = rng.uniform(20, 60, 200)
    times_ns = [int((10 + number / 50) * SECOND) for number in range(200)]
    for message in old + [make_set(t, int(ms * 1e6)) for t, ms in zip(times_ns, latencies_ms, strict=True)]:
        stats.add(message)
    figures = stats.figures(times_ns[-1])
    assert figures.rate_hz == pytest.approx(50, rel=1e-3)
    assert figures.latency_p50_ms == pytest.approx(np.percentile(latencies_ms, 50), abs=1e-3)
    assert figures.latency_p99_ms == pytest.approx(np.percentile(latencies_ms, 99), abs=1e-3)
    halved = stats.figures(times_ns[-1] + 2 * SECOND).rate_hz
    assert halved is not None and halved < 30
    assert stats.figures(times_ns[-1] + 10 * SECOND).rate_hz is None


def test_the_time_from_the_light_is_told_where_it_was_measured():
    stats = RollingStats()
    for number in range(60):
        pose_set = make_set(number * SECOND // 30, 40_000_000)
        hops_ns = {**pose_set.hops_ns, "light": pose_set.hops_ns["grab"] - 30_000_000}
        stats.add(msgspec.structs.replace(pose_set, hops_ns=hops_ns))
    assert stats.figures(2 * SECOND).photon_p50_ms == pytest.approx(70)
    for number in range(60, 300):
        stats.add(make_set(number * SECOND // 30, 40_000_000))
    assert stats.figures(10 * SECOND).photon_p50_ms is None


def test_cameras_alive_and_dropped_are_summed_over_cameras():
    stats = RollingStats()
    reports = {
        "a": CameraReport(state="streaming", dropped=2),
        "b": CameraReport(state="lost", dropped=3),
        "c": CameraReport(state="streaming"),
    }
    stats.add(make_set(1, cameras=reports))
    figures = stats.figures(2)
    assert (figures.cameras_alive, figures.cameras, figures.dropped) == (2, 3, 5)


def test_a_heartbeat_brings_camera_states_but_no_pose():
    shown = Shown()
    shown.take(make_set(0, cameras={"a": CameraReport(state="streaming")}), 0)
    assert shown.fresh() is not None and shown.fresh() is None
    heartbeat = PoseSet(
        set_index=1,
        reference_time_ns=0,
        spread_ns=0,
        hands=[],
        cameras={"a": CameraReport(state="lost")},
        hops_ns={"published": SECOND},
        stage_ms={},
        estimator="test",
        rig_id="rig",
    )
    shown.take(heartbeat, SECOND)
    assert shown.fresh() is None
    assert shown.reports()["a"].state == "lost"
    assert shown.is_stale(SECOND) and not shown.is_gone(SECOND) and shown.is_gone(4 * SECOND)


def test_old_messages_take_no_memory_where_nobody_asks_for_figures():
    shown = Shown()

    def run(first_s: int, last_s: int) -> int:
        """Memory after messages of eight cameras, ten a second, in bytes."""
        for number in range(10 * first_s, 10 * last_s):
            now_ns = number * SECOND // 10
            cameras = {
                f"cam_{each}": msgspec.structs.replace(report(each), frames=number, capture_time_ns=now_ns)
                for each in range(8)
            }
            message = make_set(now_ns, cameras=cameras)
            hops_ns = {**message.hops_ns, "light": message.hops_ns["grab"]}
            shown.take(msgspec.structs.replace(message, hops_ns=hops_ns), now_ns)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        soon = run(0, 30)
        assert run(30, 330) - soon < 100_000
    finally:
        tracemalloc.stop()


def test_pause_keeps_the_pose_and_lets_the_end_through():
    shown = Shown()
    first, second = make_set(0), make_set(1)
    shown.take(first, 0)
    shown.toggle_pause(100)
    shown.take(second, 200)
    assert shown.pose_set is first and not shown.is_stale(10 * SECOND)
    shown.take(End("stopped", {}), 300)
    assert shown.ended is not None
    shown.toggle_pause(400)
    shown.take(second, 500)
    assert shown.pose_set is second


def test_stage_finds_up_and_the_point_looked_at_in_any_world():
    rng = np.random.default_rng(3)
    for _ in range(5):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.sign(np.linalg.det(turn))
        stage = stage_of(make_rig(turn))
        # A world axis within 15 degrees is taken instead.
        assert stage.up @ turn[:, 2] > np.cos(np.radians(15.1))
        assert np.linalg.norm(stage.centre_m - turn @ TARGET_M) < 0.05
        assert stage.scale_m == pytest.approx(0.8 * np.hypot(1, 0.35), abs=0.05)
        assert stage.ground_m < stage.centre_m @ stage.up
    assert stage_of(make_rig()).up.tolist() == [0, 0, 1]


def test_points_land_on_the_ground_below_themselves():
    stage = stage_of(make_rig())
    points = np.random.default_rng(0).normal(size=(10, 3))
    below = on_ground(stage, points)
    assert below @ stage.up == pytest.approx(np.full(10, stage.ground_m))
    assert below[:, :2] == pytest.approx(points[:, :2])


def test_image_corners_project_to_the_corners_of_the_image():
    for camera in make_rig().cameras:
        corners_px = camera.project(image_corners_m(camera, 0.3))
        assert corners_px == pytest.approx(
            np.array([[-0.5, -0.5], [1279.5, -0.5], [1279.5, 719.5], [-0.5, 719.5]]), abs=1e-6
        )


def test_view_places_pixels_where_it_projects_them():
    view = camera_view(make_rig().cameras[1], 1000, 700)
    pixels = np.random.default_rng(0).uniform(0, 700, (20, 2))
    assert view.project(view.at_depth(pixels, 0.4)) == pytest.approx(pixels, abs=1e-6)


def test_skeleton_encloses_every_joint_and_faces_outwards():
    joints_m = hands_at(1.0)["right"]
    shape = skeleton_shape("right", joints_m, np.ones(21))
    balls = shape.vertices_world_m[: 21 * 66].reshape(21, 66, 3)
    assert balls.mean(axis=1) == pytest.approx(joints_m, abs=1e-9)
    radius = np.linalg.norm(balls - joints_m[:, None], axis=2)
    assert radius.max() < 0.013 and radius.min() > 0.003
    assert np.linalg.norm(shape.normals, axis=1) == pytest.approx(np.ones(len(shape.normals)))
    a, b, c = (shape.vertices_world_m[SKELETON_TRIANGLES[:, corner]] for corner in range(3))
    facing = np.einsum("ij,ij->i", np.cross(b - a, c - a), shape.normals[SKELETON_TRIANGLES].mean(axis=1))
    assert (facing > 0).all()


def test_a_joint_that_is_not_known_vanishes_and_hurts_no_other():
    joints_m = hands_at(0.0)["left"]
    broken_m = joints_m.copy()
    broken_m[8] = np.nan
    shape, whole = (skeleton_shape("left", joints, np.ones(21)) for joints in (broken_m, joints_m))
    assert np.isfinite(shape.vertices_world_m).all()
    balls, whole_balls = (s.vertices_world_m[: 21 * 66].reshape(21, 66, 3) for s in (shape, whole))
    assert np.ptp(balls[8], axis=0) == pytest.approx(np.zeros(3))
    others = np.arange(21) != 8
    assert balls[others] == pytest.approx(whole_balls[others])


@pytest.mark.parametrize("side", ["left", "right"])
def test_surface_faces_outwards_and_its_colours_follow_each_joints_uncertainty(side: Side):
    surface = HandSurface()
    pose = make_meshed_pose(side, TARGET_M)
    vertices_m = surface.vertices_of(pose)
    assert vertices_m is not None
    skin = surface.shape(side, vertices_m, None)
    assert np.linalg.norm(skin.normals, axis=1) == pytest.approx(np.ones(surface.count))
    # The volume by the divergence theorem, of normals that point out: an adult's hand with a piece of the arm.
    a, b, c = (vertices_m[surface.triangles[:, corner]] for corner in range(3))
    area_m2 = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    normals = skin.normals[surface.triangles].mean(axis=1)
    assert 0.25e-3 < (np.einsum("ij,ij->i", normals, (a + b + c) / 3 - TARGET_M) * area_m2).sum() / 3 < 0.7e-3

    covariance_m2 = np.array(pose.covariance_m2)
    covariance_m2[8] = np.eye(3) * 0.01**2
    coloured = surface.shape(side, vertices_m, joint_std_m(covariance_m2))
    tips = load_mesh().tips
    expected = std_rgb(np.array([2, 10, 2, 2, 2]) * 1e-3)
    assert np.abs(coloured.base_rgb[tips] - expected).max(axis=1) == pytest.approx(np.zeros(5), abs=0.12)
    assert np.linalg.norm(expected[1] - expected[0]) > 0.8


def test_the_uncertain_and_the_unknown_are_at_the_end_of_the_scale():
    covariance_m2 = np.tile(np.diag([1.0, 4.0, 7.0]) * 1e-6, (21, 1, 1))
    covariance_m2[3] = np.nan
    std_m = joint_std_m(covariance_m2)
    assert std_m[:3] == pytest.approx(np.full(3, 0.002))
    # The ends of viridis: dark violet and yellow.
    ends = std_rgb(np.array([0.0005, 0.001, 0.010, std_m[3]]))
    assert ends == pytest.approx(np.array([[68, 1, 84]] * 2 + [[253, 231, 37]] * 2) / 255, abs=0.02)


def test_vertices_of_another_mesh_are_not_shown():
    surface = HandSurface()
    pose = make_meshed_pose("left", TARGET_M)
    assert surface.vertices_of(pose) is not None
    whole = pose.vertices_world_m or b""
    for data in (None, b"", whole[:-12], np.full((surface.count, 3), np.nan, "<f4").tobytes()):
        assert surface.vertices_of(msgspec.structs.replace(pose, vertices_world_m=data)) is None


def test_cloud_has_the_mean_and_covariance_it_was_given():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(21, 3, 3)) * 0.004
    covariance_m2 = root @ root.transpose(0, 2, 1)
    joints_m = rng.normal(size=(21, 3))
    points, colours = cloud(joints_m, covariance_m2, np.linspace(0, 1, 21))
    offsets = points.reshape(21, -1, 3) - joints_m[:, None]
    # In the covariance's own axes the samples are one fixed set, cut off at 2.5 standard deviations, which takes off
    # about 17 % of the variance. 21 joints x 48 points scatter by 5 %.
    variances, axes = np.linalg.eigh(covariance_m2)
    white = np.einsum("jab,jpa->jpb", axes, offsets) / np.sqrt(variances)[:, None]
    assert np.cov(white.reshape(-1, 3).T) == pytest.approx(0.85 * np.eye(3), abs=0.15)
    assert np.linalg.norm(white, axis=2).max() < 2.5001
    assert colours[0] == pytest.approx(palette.UNSURE) and colours[-1] == pytest.approx(palette.SURE)
    covariance_m2[4] = np.nan
    assert len(cloud(joints_m, covariance_m2, np.ones(21))[0]) == len(points) * 20 // 21


def test_projection_on_the_image_has_the_fingers_colours_at_the_projected_joints():
    rig = make_rig(distortion=(-0.3, 0.08, 0.001, -0.002, 0.0))
    poses = [make_pose(side, joints_m) for side, joints_m in hands_at(0.0).items()]
    compared = 0
    for camera, pose in itertools.product(rig.cameras, poses):
        image = np.zeros((360, 640, 3), np.uint8)
        draw_hand(image, camera, pose)
        joints_px = (camera.project(np.array(pose.joints_world_m)) + 0.5) / 2 - 0.5
        for joint, finger in enumerate(FINGER_OF_JOINT):
            others_px = joints_px[finger != FINGER_OF_JOINT]
            if finger < 0 or np.linalg.norm(others_px - joints_px[joint], axis=1).min() < 7:
                continue
            compared += 1
            x, y = np.round(joints_px[joint]).astype(int)
            near = image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).astype(float)
            wanted = np.array(palette.bgr(palette.FINGERS[finger]))
            assert np.abs(near - wanted).max(axis=1).min() < 30
    assert compared > 20


def test_undistorted_image_shows_a_point_where_an_ideal_camera_would():
    camera = make_rig(distortion=(-0.3, 0.08, 0.001, -0.002, 0.0)).cameras[0]
    for x, y, z in ((0.2, 0.1, 0.9), (-0.4, -0.2, 1.0), (0.5, 0.25, 1.0)):
        image = np.zeros((360, 640, 3), np.float32)
        u, v = (camera.camera.project(np.array([x, y, z])) + 0.5) / 2 - 0.5
        columns, rows = np.meshgrid(np.arange(640), np.arange(360))
        image[..., 0] = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 8)
        straight = Undistorter(camera.camera)(image)[..., 0]
        weight = straight / straight.sum()
        found = np.array([(weight * columns).sum(), (weight * rows).sum()])
        ideal = (camera.camera.matrix @ [x / z, y / z, 1])[:2]
        # Interpolation between pixels and the blob's own distortion stay below a quarter of a pixel.
        assert found == pytest.approx((ideal + 0.5) / 2 - 0.5, abs=0.25)


def test_a_lost_camera_is_grey_and_named_so():
    strip = Strip(make_rig().cameras, 1280)
    image = np.zeros((720, 1280, 3), np.uint8)
    image[:] = (0, 0, 250)
    for tile in strip.tiles.values():
        tile.report = CameraReport(state="streaming")
        tile.show(image, [], 0)
    strip.tiles["cam_1"].report = CameraReport(state="lost", detail="unplugged")

    def reddish(picture: np.ndarray, number: int) -> float:
        part = picture[40:, number * 320 + 20 : number * 320 + 300].astype(float)
        return float((part[..., 2] - part[..., 1]).clip(0).mean())

    picture = strip.draw(1000)
    assert reddish(picture, 0) > 150 and reddish(picture, 1) < 40
    # The others' images grow old too.
    assert reddish(strip.draw(SECOND), 0) < 40


@pytest.mark.parametrize("count", [2, 4, 8, MAX_CAMERAS])
def test_tiles_fit_side_by_side(count: int):
    rows = -(-count // 8)
    cameras = (make_rig().cameras * 4)[:count]
    cameras = tuple(
        RigCamera(camera_id=f"c{n}", camera=camera.camera, T_cam_world=camera.T_cam_world)
        for n, camera in enumerate(cameras)
    )
    strip = Strip(cameras, 1280)
    for tile in strip.tiles.values():
        tile.report = CameraReport(state="streaming")
        tile.show(np.full((720, 1280, 3), 255, np.uint8), [], 0)
    white = (strip.draw(0) == 255).all(axis=2)
    starts = [
        (np.diff(white[(2 * row + 1) * strip.height // (2 * rows)].astype(int), prepend=0) == 1).sum()
        for row in range(rows)
    ]
    assert sum(starts) == count
    assert tile_size(
        Camera(width=640, height=480, lens="pinhole5", matrix=np.eye(3), distortion=np.zeros(5)), 320, 180
    ) == (240, 180)


def test_in_the_small_tiles_of_many_cameras_no_text_is_cut_off_and_no_hand_covers_a_name():
    (first, *_) = make_rig().cameras
    cameras = tuple(replace(first, camera_id=f"camera_{number}") for number in range(MAX_CAMERAS))
    strip, black = Strip(cameras, 1280), np.zeros((720, 1280, 3), np.uint8)
    (tile, *_) = strip.tiles.values()
    tile.report = CameraReport(state="streaming")
    tile.show(black, [], 0)

    def drawn(now_ns: int) -> np.ndarray:
        return strip._part(strip.draw(now_ns), 0).copy()

    names = drawn(0)[: round(0.25 * tile.height)]
    tile.hands = [make_pose("right", hands_at(0.0)["right"])] * 8
    width = text_width("1  camera_0", 13)
    assert (drawn(0)[: len(names), :width] == names[:, :width]).all()
    old = drawn(900_000_000)
    tile.image = None
    blank = strip._part(strip._blank(), 0)
    middle, below = slice(46, 58), slice(64, 80)
    assert (old[middle] > 100).any() and (old[middle, [0, -1]] < 20).all()
    tile.report = CameraReport(state="lost", detail="the camera was unplugged while it was grabbed")
    lost = drawn(0)
    assert (lost[below] != blank[below]).any() and (lost[below][:, [0, -1]] == blank[below][:, [0, -1]]).all()


def test_text_is_drawn_inside_its_width_and_cut_at_the_edge():
    image = np.zeros((40, 200, 3), np.uint8)
    width = draw_text(image, "42 ms", 50, 20, 16, palette.TEXT)
    columns = np.nonzero(image.any(axis=(0, 2)))[0]
    assert columns.min() >= 50 and columns.max() < 50 + width and columns.max() > 50 + 0.8 * width
    draw_text(image, "beyond the edge", 150, 2, 30, palette.TEXT)
    assert text_mask("w", 20).shape[1] > text_mask("i", 20).shape[1]


def unseen(side: Side, state: str) -> UnseenPose:
    pose = make_pose(side, dict(hands_at(0.0))[side])
    return UnseenPose(
        hand=side,
        track_id=7,
        state=state,  # pyright: ignore[reportArgumentType]
        seen_time_ns=0,
        joints_world_m=pose.joints_world_m,
        covariance_m2=pose.covariance_m2,
    )


def test_a_hand_that_was_not_seen_is_drawn_as_such_and_grows_old_while_nobody_looks():
    shown = Shown()
    shown.take(make_set(0, hands=[make_pose("left", dict(hands_at(0.0))["left"])]), 0)
    held = msgspec.structs.replace(make_set(1), unseen=[unseen("left", "held")])
    shown.take(held, SECOND // 10)
    assert [hand.state for hand in shown.drawn_hands()] == ["held"]
    assert shown.hands(SECOND // 10) == 0
    blind = msgspec.structs.replace(make_set(2), looked=False, unseen=[unseen("left", "predicted")])
    for tenth in range(2, 10):
        shown.take(blind, tenth * SECOND // 10)
    assert [hand.state for hand in shown.drawn_hands()] == ["predicted"]
    assert shown.is_stale(SECOND), "the last look was 0.9 s ago"
