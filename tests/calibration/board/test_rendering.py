"""A rig is recovered from the pictures that the renderer takes of a board in front of it."""

import numpy as np

from calibration.board.board import Board
from calibration.board.detector import detect_board
from calibration.board.views import BoardView, Detections
from calibration.rotations import make_transform
from calibration.solve.calibrate import calibrate
from models.simulation.backgrounds import random_background
from models.simulation.renderer import render
from models.simulation.scene import PosedBoard, SceneState, SceneView, Sensor
from tests.support.board_scene import arc_rig, pose_errors, tour
from tests.support.renderer_scene import camera, hand, state

BOARD = Board(type="charuco", columns=8, rows=6, square_m=0.03, dictionary="DICT_4X4_100", marker_m=0.022)
SENSOR = Sensor(blur_px=0.5, noise=2.0, jpeg_quality=92)


def test_calibration_from_rendered_images_recovers_the_rig() -> None:
    rng = np.random.default_rng(3)
    rig = arc_rig(3, 0.7, 560.0, size=(640, 480), span_deg=80)
    path, seconds = tour(rig, BOARD, rng, near_poses=9, shared_poses=12, reach_m=0.1)
    views = {name: SceneView(random_background(rng), SENSOR) for name in rig.camera_ids}
    seen: dict[str, list[BoardView]] = {name: [] for name in rig.camera_ids}
    true_px = []
    for frame in range(int(seconds) + 1):
        R, t = path(np.array([float(frame)]))
        board = PosedBoard(BOARD, make_transform(R[0], t[0]))
        for mounted in rig.cameras:
            picture = render(mounted, SceneState(hands=(), boards=(board,), views=views, noise_seed=frame)).image
            found = detect_board(picture, BOARD)
            if found.found:
                view = BoardView(
                    camera_id=mounted.camera_id,
                    frame=frame,
                    time_ns=round((100 + frame) * 1e9),
                    corner_ids=found.corner_ids,
                    corners_px=found.corners_px,
                    std_px=found.std_px,
                )
                seen[mounted.camera_id].append(view)
                corners = BOARD.corners_board_m[found.corner_ids] @ R[0].T + t[0]
                true_px.append(np.linalg.norm(mounted.project(corners) - found.corners_px, axis=1))
    assert np.sqrt((np.concatenate(true_px) ** 2).mean()) < 0.1
    result = calibrate(Detections(views=seen, image_size=dict.fromkeys(rig.camera_ids, (640, 480))), BOARD)
    rotation_deg, centre_mm, focal_percent = pose_errors(result.rig, rig)
    assert rotation_deg.max() < 0.1
    assert centre_mm.max() < 1.5
    assert np.abs(focal_percent).max() < 0.3


def test_a_hand_lies_before_the_board() -> None:
    view = camera((0.08, -0.01, 0.5))
    T_world_board = np.diag([1.0, -1.0, -1.0, 1.0])
    T_world_board[:3, 3] = -0.03, 0.07, -0.06
    board = PosedBoard(BOARD, T_world_board)
    with_hand, without = render(view, state(boards=(board,))), render(view, SceneState(hands=(), boards=(board,)))
    assert len(detect_board(without.image, BOARD).corner_ids) == 35
    assert len(detect_board(with_hand.image, BOARD).corner_ids) < 25
    u, v = np.rint(view.project(hand().joints_m[9])).astype(int)
    b, g, r = with_hand.image[v - 3 : v + 4, u - 3 : u + 4].reshape(-1, 3).mean(axis=0)
    assert r > 1.2 * b
    assert r > 1.1 * g
