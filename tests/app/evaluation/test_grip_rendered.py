"""The grip test on rendered hands that hold a rendered board: its figures are those of the scene."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from app.estimators import make_estimator
from app.estimators.detectors.mediapipe_hands import MediaPipeHands
from app.estimators.estimator import Hand
from app.evaluation import evaluation
from app.evaluation.evaluation import Recording, board_views, evaluate_footage
from app.evaluation.grip import grip_figures, grips_of
from calibration.board.board import Board
from calibration.errors import UserError
from calibration.hand import JOINTS
from calibration.rotations import inverse_transform, rotation_angle
from calibration.session import check_session
from calibration.solve.board_in_rig import board_poses_at
from tests.support.grip_scene import BOARD, GripScene, grip_scene

THUMB, FINGERS = [1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11, 12]


@pytest.fixture(scope="module", params=[("right", False), ("left", True)], ids=["fingers in front", "thumb in front"])
def scene(request) -> GripScene:
    side, thumb_in_front = request.param
    return grip_scene(side, sets=6, thumb_in_front=thumb_in_front)


@pytest.fixture(scope="module")
def recording(scene: GripScene, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("grip") / "session"
    scene.write(folder)
    session = check_session(folder)
    rig = recorded_rig(session)
    return Recording(session, rig, recorded_phases_of(session, rig))


def hands(scene: GripScene, moved: Callable[[np.ndarray, int], np.ndarray]) -> list[list[Hand]]:
    """The true hands with their joints (21, 3) moved in the board's frame, set by set."""
    result = []
    for number, T_world_board in enumerate(scene.T_world_board):
        T = inverse_transform(T_world_board)
        joints_board_m = moved(scene.joints_m[number] @ T[:3, :3].T + T[:3, 3], number)
        joints_m = joints_board_m @ T_world_board[:3, :3].T + T_world_board[:3, 3]
        result.append([
            Hand(side=scene.side, track_id=1, capture_time_ns=0, joints_world_m=joints_m,
                 covariance_m2=np.zeros((JOINTS, 3, 3)), confidence=np.ones(JOINTS), detections_px={}, inliers={})
        ])  # fmt: skip
    return result


def shifted(joints: list[int], depth_mm: Callable[[int], float]) -> Callable[[np.ndarray, int], np.ndarray]:
    def move(joints_board_m: np.ndarray, number: int) -> np.ndarray:
        moved = joints_board_m.copy()
        moved[joints, 2] += 1e-3 * depth_mm(number)
        return moved

    return move


def test_the_figures_of_known_hands_are_recovered_from_the_images(scene, recording):
    times_ns = np.round(1e9 * scene.times_s).astype(np.int64)
    poses = board_poses_at(recording.rig, BOARD, board_views(recording, BOARD), times_ns)
    assert all(pose is not None for pose in poses)
    T = np.stack([pose.T_world_board for pose in poses if pose is not None])
    error = inverse_transform(scene.T_world_board) @ T
    assert np.linalg.norm(error[:, :3, 3], axis=1).max() < 1e-3
    assert np.degrees(rotation_angle(error[:, :3, :3])).max() < 0.3

    truth = hands(scene, lambda joints_m, number: joints_m)
    through = 1 if scene.heights_mm[0] > 0 else -1
    given = {
        "true": truth,
        "thumb 3 mm nearer": hands(scene, shifted(THUMB, lambda number: 3.0 * through)),
        "fingers to and fro": hands(scene, shifted(FINGERS, lambda number: 4.0 * (-1) ** number)),
        "thumb through the board": hands(scene, shifted(THUMB, lambda number: 35.0 * through)),
        "every second": [each if number % 2 else [] for number, each in enumerate(truth)],
    }
    measured = grips_of(BOARD, poses, times_ns, truth, given)
    figures = {name: grip_figures(measured, name) for name in given}
    gap_mm = abs(scene.heights_mm[0] - scene.heights_mm[1:3].mean())
    exact = figures["true"]
    assert exact["tips"] == 5 * len(times_ns)
    assert exact["tips_missed"] == exact["wrong_side"] == 0
    assert exact["normal_sd_mm"] == pytest.approx(0, abs=0.3)
    assert exact["gap_mm"] == pytest.approx(gap_mm, abs=0.2)
    assert figures["thumb 3 mm nearer"]["gap_mm"] == pytest.approx(gap_mm - 3, abs=0.2)
    # Two of five tips are 4 mm off their median each time.
    assert figures["fingers to and fro"]["normal_sd_mm"] == pytest.approx(0.4 * 1.4826 * 4, abs=0.4)
    assert figures["thumb through the board"]["wrong_side"] == 1
    assert figures["thumb through the board"]["gap_mm"] == pytest.approx(gap_mm - 35, abs=0.2)
    assert figures["every second"]["tips_missed"] == 0.5


def refused(recording: Recording, board: Board, **options) -> str:
    """What `evaluate` says, before a method is made."""

    def make(rig, detector):
        raise AssertionError("a method runs")

    with pytest.raises(UserError) as caught:
        evaluate_footage([recording], MediaPipeHands(), {"mediapipe": make}, board=board, **options)
    return str(caught.value)


def test_another_board_is_named_before_any_method_runs(recording):
    other = Board(type="charuco", columns=7, rows=5, square_m=0.03, marker_m=0.02, dictionary="DICT_6X6_250")
    said = refused(recording, other)
    assert "is not seen by two cameras at once. This looks like a ChArUco board of " in said
    assert f"of {BOARD.columns} x {BOARD.rows} with " in said and "correct board.yaml" in said


def test_a_board_that_is_seen_before_the_held_out_part_alone_is_not_blamed(recording, monkeypatch):
    def detect(session, board):
        found = find(session, board)
        times_ns = sorted({view.time_ns for of_camera in found.views.values() for view in of_camera})
        half_ns = times_ns[len(times_ns) // 2]
        early = {name: [view for view in each if view.time_ns < half_ns] for name, each in found.views.items()}
        return replace(found, views=early)

    find = evaluation.detect_session
    monkeypatch.setattr(evaluation, "detect_session", detect)
    said = refused(recording, BOARD, holdout=0.2)
    assert "not in the part that `--holdout 0.2` measures on" in said and "board.yaml" not in said


@pytest.mark.slow
def test_mediapipe_sees_the_rendered_grip(recording):
    """From the images alone: the hand is found in every set, and so near to the board that it is known to hold it."""
    methods = {"mediapipe": lambda rig, detector: make_estimator("mediapipe", rig, detector=detector)}
    figures = evaluate_footage([recording], MediaPipeHands(), methods, board=BOARD)
    assert figures["real"]["mediapipe"]["sets_with_hand"] == 6
    assert figures["sets_with_board"] == 6
    assert figures["grip"]["mediapipe"]["tips"] >= 15
