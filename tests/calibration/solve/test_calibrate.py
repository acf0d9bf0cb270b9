"""The solver on a simulated board rig with known truth, on bad recordings, and on the real rig."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.board.board import Board
from calibration.board.session_scan import detect_session
from calibration.board.views import Detections
from calibration.errors import UserError
from calibration.importers import import_recording
from calibration.result.result import CalibrationOptions, CalibrationResult
from calibration.rig import Rig
from calibration.rotations import make_transform, rotation_from_vector
from calibration.session import read_session
from calibration.solve.calibrate import calibrate
from calibration.solve.drift import check_drift
from calibration.solve.set_choice import fold_sets
from calibration.solve.view_table import make_table
from tests.support.board_scene import BOARD, BoardPath, arc_rig, board_path, observe, pose_errors, tour

BIG_BOARD = Board(type="charuco", columns=11, rows=8, square_m=0.045, dictionary="DICT_4X4_100", marker_m=0.033)


def _three_cameras() -> tuple[Rig, BoardPath, np.random.Generator]:
    rng = np.random.default_rng(1)
    return arc_rig(3, span_deg=80), board_path(BOARD, 20, rng), rng


@pytest.fixture(scope="module")
def plain() -> tuple[Rig, Detections]:
    rig, path, rng = _three_cameras()
    return rig, observe(rig, BOARD, path, 60, rng, fps=4.0)


def _only(detections: Detections, camera_id: str, change) -> Detections:
    return replace(
        detections, views={key: change(views) if key == camera_id else views for key, views in detections.views.items()}
    )


@pytest.mark.parametrize(
    ("cameras", "distance_m", "focal_px", "fps"),
    [
        (4, 1.0, 900, 2.0),
        pytest.param(8, 1.0, 650, 4.0, marks=pytest.mark.slow),
        pytest.param(4, 0.5, 1100, 4.0, marks=pytest.mark.slow),
        pytest.param(4, 2.0, 1400, 4.0, marks=pytest.mark.slow),
    ],
)
def test_a_good_recording_gives_the_true_rig(cameras: int, distance_m: float, focal_px: float, fps: float) -> None:
    rig = arc_rig(cameras, distance_m, focal_px, span_deg=90)
    rng = np.random.default_rng(1)
    path, seconds = tour(rig, BIG_BOARD, rng, near_poses=12, shared_poses=30)
    result = calibrate(observe(rig, BIG_BOARD, path, int(fps * seconds), rng, fps=fps), BIG_BOARD)
    rotation_deg, centre_mm, focal_percent = pose_errors(result.rig, rig)
    assert result.verdict != "poor", result.reasons
    assert np.abs(focal_percent).max() < 0.15
    # Turn and position are as uncertain as the principal point: one pixel of 900 is 0.06 degrees, or 1 mm at 1 m.
    stds_deg = np.array([figures.rotation_std_deg for figures in result.cameras.values()])
    stds_mm = np.array([figures.position_std_mm for figures in result.cameras.values()])
    assert (rotation_deg <= np.maximum(0.02, 2.5 * stds_deg)).all() and rotation_deg.max() < 0.15
    assert (centre_mm <= np.maximum(0.5, 2.5 * stds_mm)).all() and centre_mm.max() < 4 * distance_m
    assert result.noise_px == pytest.approx(0.5, rel=0.04)


def test_with_known_lenses_poses_are_exact_to_hundredths_of_a_degree(plain: tuple[Rig, Detections]) -> None:
    rig, detections = plain
    result = calibrate(detections, BOARD, given_intrinsics={c.camera_id: c.camera for c in rig.cameras})
    rotation_deg, centre_mm, focal_percent = pose_errors(result.rig, rig)
    assert rotation_deg.max() < 0.025 and centre_mm.max() < 0.5
    assert (focal_percent == 0).all()
    assert all(figures.lens_note == "given" for figures in result.cameras.values())


def test_a_fisheye_is_fitted_to_its_noise() -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(3, 0.7, 380, "fisheye4", span_deg=80)
    path, seconds = tour(rig, BIG_BOARD, rng, near_poses=12, shared_poses=20)
    result = calibrate(observe(rig, BIG_BOARD, path, int(2 * seconds), rng, fps=2.0), BIG_BOARD)
    assert np.abs(pose_errors(result.rig, rig)[2]).max() < 0.3
    # What the lens models differ in must fit: the residual is that of the noise.
    assert result.noise_px == pytest.approx(0.5, rel=0.05)


def test_the_same_views_give_the_same_rig(plain: tuple[Rig, Detections]) -> None:
    first, second = (calibrate(plain[1], BOARD).rig for _ in range(2))
    for a, b in zip(first.cameras, second.cameras, strict=True):
        np.testing.assert_array_equal(a.T_cam_world, b.T_cam_world)
        np.testing.assert_array_equal(a.camera.matrix, b.camera.matrix)


def test_constant_latencies_are_found_and_named() -> None:
    rig, _, rng = _three_cameras()
    path = board_path(BOARD, 8, rng, pace_s=0.8)
    late = {"cam_1": 0.1, "cam_2": 0.012}
    result = calibrate(observe(rig, BOARD, path, 200, rng, fps=30.0, late_s=late), BOARD)
    mean = np.mean([0.0, *late.values()])
    for camera_id, figures in result.cameras.items():
        assert figures.time_offset_std_ns is not None
        error_ns = figures.time_offset_ns - 1e9 * (late.get(camera_id, 0.0) - mean)
        assert abs(error_ns) < max(4 * figures.time_offset_std_ns, 3e5)
    assert (
        result.rig.time_offsets_known and result.rig["cam_1"].time_offset_ns == result.cameras["cam_1"].time_offset_ns
    )
    assert any("cam_1" in warning and "late" in warning for warning in result.warnings)
    assert pose_errors(result.rig, rig)[1].max() < 10


@pytest.mark.parametrize(
    ("rates", "late_s"), [((20.0, 10.0, 10.0), 0.0), ((30.0, 7.5, 30.0), 0.02), ((25.0, 30.0, 30.0), 0.02)]
)
def test_cameras_of_different_rates(rates: tuple[float, ...], late_s: float) -> None:
    """Each camera's motion is read at its own rate; offsets of its time stamps are found, and none where none are."""
    rig, _, rng = _three_cameras()
    fps = dict(zip(rig.camera_ids, rates, strict=True))
    path = board_path(BOARD, 12, rng, pace_s=1.2)
    seen = observe(rig, BOARD, path, int(10 * max(rates)), rng, fps=fps, noise_px=0.1, late_s={"cam_1": late_s})
    result = calibrate(seen, BOARD)
    between_ns = result.rig["cam_1"].time_offset_ns - result.rig["cam_0"].time_offset_ns
    assert between_ns == pytest.approx(late_s * 1e9, abs=1e6)
    assert result.heldout.rmse_px < 0.3
    assert result.verdict != "poor"


def test_a_slow_board_leaves_offsets_at_zero_and_says_so() -> None:
    rig, _, rng = _three_cameras()
    path = board_path(BOARD, 40, rng, pace_s=20.0)
    result = calibrate(observe(rig, BOARD, path, 40, rng, fps=1.0, late_s={"cam_1": 0.02}), BOARD)
    assert all(figures.time_offset_ns == 0 for figures in result.cameras.values())
    assert "zero" in result.time_offset_note and not result.rig.time_offsets_known


def test_stamps_that_are_three_frames_late_are_put_right() -> None:
    rig, _, rng = _three_cameras()
    path = board_path(BOARD, 20, rng, pace_s=1.5)
    result = calibrate(observe(rig, BOARD, path, 100, rng, late_s={"cam_2": 0.6}), BOARD)
    between_ns = result.rig["cam_2"].time_offset_ns - result.rig["cam_0"].time_offset_ns
    assert between_ns == pytest.approx(0.6e9, abs=5e6)
    assert any("cam_2" in warning and "3.0 frames" in warning for warning in result.warnings)
    assert result.heldout.rmse_px < 0.8


def test_no_board(plain: tuple[Rig, Detections]) -> None:
    nothing = replace(plain[1], views={camera_id: [] for camera_id in plain[1].views})
    with pytest.raises(UserError, match=r"no board was seen.*9x7 charuco.*board\.yaml"):
        calibrate(nothing, BOARD)


def test_one_camera_only(plain: tuple[Rig, Detections]) -> None:
    views = {camera_id: own if camera_id == "cam_1" else [] for camera_id, own in plain[1].views.items()}
    with pytest.raises(UserError, match="only camera `cam_1` saw the board"):
        calibrate(replace(plain[1], views=views), BOARD)


def test_groups_that_are_never_linked_are_named() -> None:
    rng = np.random.default_rng(1)
    rig, path = arc_rig(4, span_deg=100), board_path(BOARD, 20, rng)
    early, late = range(48), range(52, 100)
    sees = {"cam_0": early, "cam_1": early, "cam_2": late, "cam_3": late}
    with pytest.raises(UserError, match=r"\[cam_0, cam_1\] and \[cam_2, cam_3\].*Film the board"):
        calibrate(observe(rig, BOARD, path, 100, rng, sees=sees), BOARD)


def test_a_board_that_is_never_tilted_is_poor() -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(3)
    side_by_side = tuple(
        replace(camera, T_cam_world=make_transform(np.eye(3), np.array([-0.1 * number, 0, 1.0])))
        for number, camera in enumerate(rig.cameras)
    )
    rig = replace(rig, cameras=side_by_side)
    result = calibrate(observe(rig, BOARD, board_path(BOARD, 15, rng, tilt_rad=0.0), 60, rng, fps=4.0), BOARD)
    assert result.verdict == "poor"
    assert any("focal length" in reason for reason in result.reasons)
    assert any("tilt the board" in remedy for remedy in result.remedies)


def test_a_wrong_square_size_shows_against_a_known_distance(plain: tuple[Rig, Detections]) -> None:
    rig, detections = plain
    known = float(np.linalg.norm(rig["cam_0"].centre_world_m - rig["cam_1"].centre_world_m))
    options = CalibrationOptions(known_distances_m={("cam_1", "cam_0"): known})
    right = calibrate(detections, BOARD, options=options)
    assert right.scale_bias_percent == pytest.approx(0, abs=0.5) and right.verdict != "poor"
    wrong = calibrate(detections, msgspec.structs.replace(BOARD, square_m=0.033), options=options)
    assert wrong.scale_bias_percent == pytest.approx(10, abs=0.6) and wrong.verdict == "poor"
    assert any("measure a square" in remedy for remedy in wrong.remedies)


def test_a_mirrored_camera_is_named(plain: tuple[Rig, Detections]) -> None:
    mirrored = _only(
        plain[1], "cam_1",
        lambda views: [replace(v, corners_px=np.array([1279, 0]) + v.corners_px * [-1, 1]) for v in views],
    )  # fmt: skip
    with pytest.raises(UserError, match="camera `cam_1`: the board appears mirrored"):
        calibrate(mirrored, BOARD)


def test_a_camera_upside_down_is_only_turned(plain: tuple[Rig, Detections]) -> None:
    upright = calibrate(plain[1], BOARD).rig["cam_1"]
    turned = _only(
        plain[1], "cam_1", lambda views: [replace(v, corners_px=np.array([1279, 719]) - v.corners_px) for v in views]
    )
    found = calibrate(turned, BOARD).rig["cam_1"]
    np.testing.assert_allclose(found.centre_world_m, upright.centre_world_m, atol=2e-4)
    np.testing.assert_allclose(found.T_cam_world[:3, :3], np.diag([-1, -1, 1]) @ upright.T_cam_world[:3, :3], atol=1e-3)


def test_a_video_cut_short_is_named(plain: tuple[Rig, Detections]) -> None:
    result = calibrate(_only(plain[1], "cam_1", lambda views: views[:20]), BOARD)
    assert any("cam_1" in warning and "cut short" in warning for warning in result.warnings)


def test_two_moments_are_poor(plain: tuple[Rig, Detections]) -> None:
    views = {key: [view for view in own if view.frame in (16, 48)] for key, own in plain[1].views.items()}
    result = calibrate(replace(plain[1], views=views), BOARD)
    assert result.verdict == "poor"
    assert any("moments" in reason for reason in result.reasons) and len(result.reasons) == len(result.remedies)


def test_large_images() -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(3, focal_px=2800, size=(4000, 3000), span_deg=80)
    result = calibrate(observe(rig, BOARD, board_path(BOARD, 15, rng), 60, rng, fps=4.0), BOARD)
    assert np.abs(pose_errors(result.rig, rig)[2]).max() < 0.15
    assert result.verdict != "poor", result.reasons


def test_intrinsics_of_another_size_are_refused(plain: tuple[Rig, Detections]) -> None:
    camera = replace(plain[0]["cam_1"].camera, width=640)
    with pytest.raises(UserError, match="for 640x720, but its images are 1280x720"):
        calibrate(plain[1], BOARD, given_intrinsics={"cam_1": camera})


def test_the_world_lies_on_the_board(plain: tuple[Rig, Detections]) -> None:
    views = plain[1].views["cam_0"]
    options = CalibrationOptions(world_time_ns=views[10].time_ns)
    result = calibrate(plain[1], BOARD, options=options)
    T_world_board = result.board_poses[min(result.board_poses, key=lambda when: abs(when - views[10].time_ns))]
    # z points out of the printed face, which the cameras see: they are above it.
    np.testing.assert_allclose(T_world_board, np.diag([1.0, -1, -1, 1]), atol=1e-9)
    assert all(camera.centre_world_m[2] > 0.3 for camera in result.rig.cameras)


def test_a_fitted_world_has_the_cameras_on_its_upper_side(plain: tuple[Rig, Detections]) -> None:
    result = calibrate(plain[1], BOARD, options=CalibrationOptions(fit_world=True))
    places = np.array([T[:3, 3] for T in result.board_poses.values()])
    assert np.abs(places.mean(axis=0)).max() < 0.01
    centres = np.array([camera.centre_world_m for camera in result.rig.cameras])
    assert centres[:, 2].mean() > 0 and abs(centres[0, 1]) < 1e-9
    plainly = calibrate(plain[1], BOARD)
    for pair, distance_m in plainly.distances_m.items():
        assert result.distances_m[pair] == pytest.approx(distance_m, abs=1e-9)


REAL_BOARD = Board(
    type="charuco", columns=4, rows=5, square_m=0.054, dictionary="DICT_4X4_1000", marker_m=0.0405, inverted=True
)


@pytest.fixture(scope="module")
def real_detections(real_rig_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Detections:
    path = tmp_path_factory.mktemp("real") / "session"
    import_recording(real_rig_dir, path)
    return detect_session(read_session(path), REAL_BOARD)


@pytest.fixture(scope="module")
def real(real_detections: Detections) -> CalibrationResult:
    return calibrate(real_detections, REAL_BOARD)


def test_the_real_rig_from_its_clip_alone(real: CalibrationResult) -> None:
    """Bounds are the figures that the best other calibration of this recording reached, with time offsets."""
    heldout = real.heldout
    assert heldout.rmse_px < 0.54 and heldout.trim_rmse_px < 0.5 and heldout.median_px < 0.4
    assert heldout.rigidity_mm_rms < 0.27 and heldout.loo_px < 0.65
    assert real.verdict in ("good", "usable")


def test_the_real_rig_agrees_with_its_published_calibration(real: CalibrationResult) -> None:
    published_mm = [1132, 550, 426, 918, 1433, 626]
    found_mm = [1000 * distance_m for distance_m in real.distances_m.values()]
    np.testing.assert_allclose(found_mm, published_mm, atol=22, rtol=0)


def test_a_camera_of_the_real_rig_that_is_not_where_its_rig_says(
    real: CalibrationResult, real_detections: Detections
) -> None:
    assert check_drift(real.rig, real_detections, REAL_BOARD).moved == ()
    change = make_transform(rotation_from_vector(np.array([0.0, 0.035, 0.0])), np.array([0.01, 0, 0]))
    cameras = [
        replace(camera, T_cam_world=change @ camera.T_cam_world) if camera.camera_id == "cam_2" else camera
        for camera in real.rig.cameras
    ]
    report = check_drift(replace(real.rig, cameras=tuple(cameras)), real_detections, REAL_BOARD)
    assert report.moved == ("cam_2",) and report.rig is not None
    np.testing.assert_allclose(report.rig["cam_2"].centre_world_m, real.rig["cam_2"].centre_world_m, atol=2e-3)


def test_row_times_of_rolling_shutters_are_found() -> None:
    rig, _, rng = _three_cameras()
    path = board_path(BOARD, 6, rng, pace_s=0.5)
    detections = observe(rig, BOARD, path, 120, rng, fps=30.0, row_time_s=3e-5)
    result = calibrate(detections, BOARD, options=CalibrationOptions(rolling_shutter=True))
    for figures in result.cameras.values():
        assert figures.row_time_ns == pytest.approx(30_000, rel=0.05)


def test_single_captures_of_a_board_held_still_need_no_motion() -> None:
    """As the wizard takes them: seconds apart, each camera a little later than the last."""
    rig, path, rng = _three_cameras()
    detections = observe(rig, BOARD, path, 40, rng, fps=0.5)
    late = {camera_id: 20_000_000 * number for number, camera_id in enumerate(rig.camera_ids)}
    views = {
        camera_id: [
            replace(view, time_ns=view.time_ns + late[camera_id] + int(rng.uniform(0, 15e6)), frame=number)
            for number, view in enumerate(own)
        ]
        for camera_id, own in detections.views.items()
    }
    result = calibrate(replace(detections, views=views), BOARD)
    assert result.noise_px == pytest.approx(0.5, rel=0.05) and result.heldout.rmse_px < 0.7
    assert all(figures.time_offset_ns == 0 for figures in result.cameras.values())


def test_a_burst_of_captures_is_in_one_half_only(plain: tuple[Rig, Detections]) -> None:
    views = plain[1].views["cam_0"]
    for bursts, size in ((6, 5), (5, 5), (8, 3), (40, 1)):
        times_s = (2.0 * np.arange(bursts)[:, None] + 0.15 * np.arange(size)).ravel()
        burst = np.repeat(np.arange(bursts), size)
        moments = [replace(views[0], time_ns=round(1e9 * time), frame=n) for n, time in enumerate(times_s)]
        table = make_table(replace(plain[1], views={"cam_0": moments}), BOARD, ("cam_0",))
        folds = fold_sets(table)
        assert all(len(set(folds[burst == number])) == 1 for number in range(bursts))
        assert 0.3 < folds.mean() < 0.7


def test_standard_deviations_cover_what_halves_of_the_footage_differ_by(real: CalibrationResult) -> None:
    """By the covariance alone, cam_1 is sure to 3.4 mm from cam_0 and cam_2's time stamps are to 0.33 ms."""
    assert 0.006 < real.distance_std_m["cam_0", "cam_1"] < 0.03
    assert 0.0005 < real.distance_std_m["cam_0", "cam_2"] < 0.003
    assert 600_000 < (real.cameras["cam_2"].time_offset_std_ns or 0) < 3_000_000


def test_what_a_camera_saw_alone_does_not_count(real: CalibrationResult) -> None:
    views = [view for view in real.views if view.camera_id == "cam_1"]
    figures = real.cameras["cam_1"]
    assert figures.frames == len(views) < 50
    # Regions with few corners are not judged: cam_1 has some in its lower right, too few.
    corners_px = np.concatenate([view.corners_px for view in views])
    seen = np.histogram2d(corners_px[:, 1], corners_px[:, 0], bins=3, range=[[0, 720], [0, 1280]])[0]
    assert np.isnan(figures.region_rmse_px[seen < 12]).all() and np.isfinite(figures.region_rmse_px).any()


def test_a_note_says_what_the_scale_rests_on(plain: tuple[Rig, Detections]) -> None:
    rig, detections = plain
    given = {("cam_0", "cam_1"): float(np.linalg.norm(rig.cameras[0].centre_world_m - rig.cameras[1].centre_world_m))}
    for known, expected in (({}, 1), (given, 0)):
        result = calibrate(detections, BOARD, options=CalibrationOptions(known_distances_m=known))
        assert sum("scale rests on squares of" in warning for warning in result.warnings) == expected


def test_a_note_says_what_is_up_where_nobody_chose_it(plain: tuple[Rig, Detections]) -> None:
    _, detections = plain
    for options, expected in (
        (CalibrationOptions(), 1),
        (CalibrationOptions(fit_world=True), 0),
        (CalibrationOptions(world_time_ns=detections.views["cam_0"][0].time_ns), 0),
    ):
        warnings = calibrate(detections, BOARD, options=options).warnings
        assert sum("y down" in each and "--world-frame" in each for each in warnings) == expected


@pytest.mark.parametrize(("times", "metres"), [(1000, True), (100, True), (0.001, True), (1.03, False)])
def test_a_known_distance_in_another_unit_is_asked_about(
    times: float, metres: bool, plain: tuple[Rig, Detections]
) -> None:
    """Not the board, whose squares would be 40 m."""
    rig, detections = plain
    true_m = float(np.linalg.norm(rig.cameras[0].centre_world_m - rig.cameras[1].centre_world_m))
    options = CalibrationOptions(known_distances_m={("cam_0", "cam_1"): times * true_m})
    (remedy,) = [each for each in calibrate(detections, BOARD, options=options).remedies if "known distances" in each]
    assert ("metres" in remedy, "measure a square" in remedy) == (metres, not metres)
