"""Two-sided boards, cameras that see the back, and cameras that mirror: told apart and solved."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pytest

from calibration.board.board import Board
from calibration.board.views import Detections
from calibration.errors import UserError
from calibration.image_turn import ImageTurn
from calibration.rig import Rig
from calibration.solve.calibrate import calibrate
from tests.support.board_scene import BOARD, BoardPath, arc_rig, board_path, observe, pose_errors


def mirrored(detections: Detections, cameras: Collection[str]) -> Detections:
    """As these cameras would tell it if they exchanged left and right."""
    views = dict(detections.views)
    for name in cameras:
        views[name] = [replace(view, corners_px=view.corners_px * [-1, 1] + [1279, 0]) for view in views[name]]
    return replace(detections, views=views)


def check_rig(found: Rig, true: Rig) -> None:
    rotation_deg, centre_mm, focal_percent = pose_errors(found, true)
    for name, turn, place, focal in zip(true.camera_ids, rotation_deg, centre_mm, focal_percent, strict=True):
        assert turn < 0.25, f"{name} is turned by {turn:.3f} degrees"
        assert place < 4, f"{name} is {place:.2f} mm off"
        assert abs(focal) < 0.5, f"{name}: focal length {focal:+.2f} % off"


@pytest.fixture(scope="module")
def around() -> tuple[Rig, Detections]:
    """Four cameras around a two-sided board, which tumbles so far that each sees both sides."""
    rng = np.random.default_rng(3)
    rig = arc_rig(4, span_deg=200)
    path = board_path(BOARD, 30, rng, tilt_rad=1.6, pace_s=1.5)
    return rig, observe(rig, BOARD, path, 120, rng, fps=4.0, two_sided=True, noise_px=0.3)


def test_a_two_sided_board_is_solved(around: tuple[Rig, Detections]) -> None:
    rig, detections = around
    result = calibrate(detections, BOARD)
    assert result.verdict != "poor", result.reasons
    check_rig(result.rig, rig)


@dataclass(frozen=True)
class FacingAlways:
    """A path whose board is turned with the camera that it faces."""

    path: BoardPath
    R_world_cam: np.ndarray

    def __call__(self, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        R, t = self.path(times_s)
        return self.R_world_cam @ R, (self.R_world_cam @ t[..., None])[..., 0]


def test_a_camera_that_sees_the_back_alone_is_solved() -> None:
    """Two cameras face each other: one sees the front of every board, the other the back."""
    rng = np.random.default_rng(5)
    first, side, _ = arc_rig(3, span_deg=120).cameras
    opposite = np.diag([-1.0, 1.0, -1.0, 1.0])
    opposite[2, 3] = 2 * first.T_cam_world[2, 3]
    rig = Rig((first, side, replace(first, camera_id="cam_2", T_cam_world=opposite @ first.T_cam_world)))
    path = FacingAlways(board_path(BOARD, 30, rng, tilt_rad=0.5), first.T_cam_world[:3, :3].T)
    detections = observe(rig, BOARD, path, 120, rng, fps=4.0, two_sided=True, noise_px=0.3)  # type: ignore[arg-type]
    check_rig(calibrate(detections, BOARD).rig, rig)


@pytest.mark.parametrize("which", ["cam_1", "cam_0"])
def test_a_mirrored_camera_is_told_from_the_back_of_a_board(around: tuple[Rig, Detections], which: str) -> None:
    with pytest.raises(UserError, match=f"line `mirrored: true` to camera `{which}` in the rig.yaml"):
        calibrate(mirrored(around[1], [which]), BOARD)


@pytest.mark.parametrize("which", [("cam_0",), ("cam_0", "cam_1"), ("cam_0", "cam_1", "cam_2")], ids="-".join)
def test_with_a_one_sided_board_even_most_cameras_are_told(which: tuple[str, ...]) -> None:
    rng = np.random.default_rng(1)
    rig = arc_rig(3, span_deg=80)
    detections = observe(rig, BOARD, board_path(BOARD, 20, rng), 60, rng, fps=3.0)
    named = ", ".join(f"`{name}`" for name in which)
    with pytest.raises(UserError, match=f"line `mirrored: true` to camera {named} in the rig.yaml") as refused:
        calibrate(mirrored(detections, which), BOARD)
    # What all cameras see mirrored may be mirrored.
    assert ("the print itself is mirrored" in str(refused.value)) == (len(which) == 3)


@pytest.mark.parametrize("columns", [10, 9])
def test_a_chessboard_in_a_mirror_is_told(columns: int) -> None:
    """Its corners are counted so that it faces the camera, from a dark one: columns or rows run the other way."""
    rng = np.random.default_rng(1)
    board = Board(type="chessboard", columns=columns, rows=17 - columns, square_m=0.03)
    numbers = np.arange((columns - 1) * (16 - columns)).reshape(16 - columns, columns - 1)
    rig = arc_rig(3, span_deg=80)
    detections = observe(rig, board, board_path(board, 20, rng), 60, rng, fps=3.0)
    whole = {
        name: [view for view in own if len(view.corner_ids) == numbers.size] for name, own in detections.views.items()
    }
    detections = replace(detections, views=whole)
    assert calibrate(detections, board).verdict != "poor"
    counted = (numbers[:, ::-1] if columns % 2 else numbers[::-1]).ravel()
    in_mirror = mirrored(detections, ["cam_1"]).views["cam_1"]
    as_found = [replace(view, corners_px=view.corners_px[counted]) for view in in_mirror]
    with pytest.raises(UserError, match=r"camera `cam_1`: what is seen there.*chessboard does not show which"):
        calibrate(replace(detections, views={**whole, "cam_1": as_found}), board)


def test_the_rig_that_is_written_keeps_how_images_are_turned(around: tuple[Rig, Detections]) -> None:
    rig, detections = around
    turned = replace(rig.cameras[2], turn=ImageTurn(mirrored=True, rotate=180))
    given = replace(rig, cameras=(*rig.cameras[:2], turned, rig.cameras[3]))
    few = {name: [view for view in views if view.frame % 3 == 0] for name, views in detections.views.items()}
    found = calibrate(replace(detections, views=few), BOARD, given_rig=given).rig
    assert [camera.turn for camera in found.cameras] == [camera.turn for camera in given.cameras]
