"""Boards in the videos of a session: a real recording, and rendered ones."""

import cv2
import numpy as np
import pytest

from app.cli import main
from calibration.board.board import Board
from calibration.board.hints import another_board
from calibration.board.rendering import BoardRenderer, Exposure
from calibration.board.session_scan import detect_session
from calibration.rig import Rig, RigCamera
from calibration.session import Session, read_session, write_session
from tests.support.board_images import CAMERAS, CHARUCO, EVEN_CHARUCO, REAL_CHARUCO, pose


@pytest.fixture(scope="module")
def real_session(real_rig_dir, tmp_path_factory) -> Session:
    path = tmp_path_factory.mktemp("real") / "session"
    assert main(["import", str(real_rig_dir), str(path)]) == 0
    return read_session(path)


def film(path, board: Board, changes: dict[str, dict], frames: int = 6) -> tuple[Session, dict]:
    """A session of one board moving slowly before two cameras, and the true corners by camera."""
    lens, renderer, truth = CAMERAS["pinhole5"], BoardRenderer(board), {}
    path.mkdir()
    for camera_id in ("left", "right"):
        change = changes.get(camera_id, {})
        writer = cv2.VideoWriter(
            str(path / f"{camera_id}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (lens.width, lens.height)
        )
        truth[camera_id] = []
        for frame in range(frames):
            turn = (0.2 + 0.02 * frame, -0.3 if camera_id == "left" else 0.3, 0.1)
            T_cam_board = pose(board, lens, share=0.55, turn=turn, place=(-0.1 + 0.02 * frame, 0.0))
            image = renderer.render(lens, T_cam_board, Exposure(noise=1.0), supersample=2)
            if frame in change.get("blank", ()):
                image[:] = 60
            if change.get("mirrored"):
                image = image[:, ::-1]
            if change.get("negative"):
                image = 255 - image
            writer.write(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_GRAY2BGR))
            truth[camera_id].append(renderer.corners_px(lens, T_cam_board))
        writer.release()
    cameras = tuple(RigCamera(camera_id=camera_id, camera=lens, T_cam_world=np.eye(4)) for camera_id in truth)
    times = {camera_id: np.arange(frames) * 33_333_333 for camera_id in truth}
    videos = {camera_id: f"{camera_id}.avi" for camera_id in truth}
    return write_session(path, Rig(cameras), videos, times), truth


def test_real_recording_is_read_whole(real_session):
    calls = []
    found = detect_session(real_session, REAL_CHARUCO, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (444, 444) and [done for done, _ in calls] == list(range(1, 445))
    assert found.looked_at == dict.fromkeys(real_session.camera_ids, 111)
    assert (found.legacy, found.inverted, found.mirrored) == (None, True, ())
    for camera_id, views in found.views.items():
        assert len(views) >= 42, camera_id
        whole = [view for view in views if len(view.corner_ids) == 12]
        assert len(whole) >= 25, camera_id
        assert len(views) + sum(found.rejected[camera_id].values()) == 111
        residuals = [_plane_residual_px(view) for view in whole]
        # The lens bends the board by some tenths of a pixel; a wrong corner would be pixels out.
        assert np.median(residuals) < 0.6 and max(residuals) < 2.5, camera_id


def _plane_residual_px(view) -> float:
    at = REAL_CHARUCO.corners_board_m[view.corner_ids, :2]
    H, _ = cv2.findHomography(at, view.corners_px)
    projected = cv2.perspectiveTransform(at[None], H)[0]
    return float(np.sqrt(((projected - view.corners_px) ** 2).sum(axis=1).mean()))


def test_detection_does_not_depend_on_the_number_of_threads(real_session):
    alone = detect_session(real_session, REAL_CHARUCO, workers=1, every=3)
    together = detect_session(real_session, REAL_CHARUCO, every=3)
    assert alone.rejected == together.rejected
    for camera_id in real_session.camera_ids:
        assert len(alone.views[camera_id]) == len(together.views[camera_id]) > 10
        for one, other in zip(alone.views[camera_id], together.views[camera_id], strict=True):
            assert one.frame == other.frame and one.frame % 3 == 0 and one.time_ns == other.time_ns
            assert np.array_equal(one.corners_px, other.corners_px) and np.array_equal(one.corner_ids, other.corner_ids)


@pytest.mark.slow
def test_wrong_board_is_named_from_the_videos(real_session):
    wrong = Board(type="charuco", columns=5, rows=7, square_m=0.03, dictionary="DICT_5X5_50", marker_m=0.022)
    hint = another_board(real_session, wrong)
    assert hint is not None and "ChArUco board of 4 x 5 with DICT_4X4 markers (printed inverted)" in hint
    assert another_board(real_session, REAL_CHARUCO) is None


def test_mirrored_camera_is_found_and_named(tmp_path):
    session, truth = film(tmp_path / "s", CHARUCO, {"right": {"mirrored": True}})
    found = detect_session(session, CHARUCO)
    assert found.mirrored == ("right",)
    for view in found.views["right"]:
        expected = truth["right"][view.frame].copy()
        expected[:, 0] = CAMERAS["pinhole5"].width - 1 - expected[:, 0]
        assert np.abs(view.corners_px - expected[view.corner_ids]).max() < 0.5
    assert [len(views) for views in found.views.values()] == [6, 6]


def test_inverted_print_and_legacy_layout_are_found_though_not_declared(tmp_path):
    drawn = Board(
        type="charuco", columns=6, rows=8, square_m=0.03, dictionary="DICT_4X4_250", marker_m=0.022, legacy=True
    )
    session, truth = film(tmp_path / "s", drawn, {name: {"negative": True} for name in ("left", "right")})
    found = detect_session(session, EVEN_CHARUCO)
    assert (found.inverted, found.legacy, found.mirrored) == (True, True, ())
    for camera_id, views in found.views.items():
        assert len(views) == 6
        for view in views:
            assert np.abs(view.corners_px - truth[camera_id][view.frame][view.corner_ids]).max() < 0.6


def test_images_without_a_board_are_counted(tmp_path):
    session, _ = film(tmp_path / "s", CHARUCO, {"left": {"blank": (0, 1, 4)}})
    found = detect_session(session, CHARUCO)
    assert [view.frame for view in found.views["left"]] == [2, 3, 5]
    assert found.rejected == {"left": {"no board": 3}, "right": {}}
