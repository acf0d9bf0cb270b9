"""The touch test's picture: nothing in it covers anything else or is cut off."""

import numpy as np
import pytest

from app.evaluation.touch_targets import targets_of
from app.touch.guide import GuideState
from app.touch.plan import Prompt
from app.touch.screen import TouchScreen, draw_touch
from app.wizard.tile import CameraPanel
from calibration.board.board import Board
from tests.support.board_scene import arc_rig

WIDE = Board(type="charuco", columns=12, rows=9, square_m=0.03, dictionary="DICT_4X4_100", marker_m=0.022)
HIGH = Board(type="charuco", columns=4, rows=5, square_m=0.05, dictionary="DICT_4X4_100", marker_m=0.037)


def picture(size: tuple[int, int], board: Board, target: int = 1, state: GuideState = "unseen", done: int = 12):
    targets, rig = targets_of(board), arc_rig(3)
    panels = [CameraPanel(camera_id=camera_id) for camera_id in rig.camera_ids]
    screen = TouchScreen(
        panels=panels,
        hands_world_m=[],
        T_world_board=None,
        prompt=Prompt(1, 2, target),
        state=state,
        done=done,
        total=44,
    )  # fmt: skip
    return draw_touch(screen, rig, board, targets, size)


def changed_columns(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.flatnonzero((one != other).any((0, 2)))


@pytest.mark.parametrize("size", [(1280, 720), (960, 540)])
def test_the_longest_state_ends_before_the_count_of_touches(size):
    unseen = picture(size, WIDE)
    state_px = changed_columns(unseen, picture(size, WIDE, state="away")).max()
    count_px = changed_columns(unseen, picture(size, WIDE, done=38)).min()
    assert state_px < count_px


@pytest.mark.parametrize("board", [WIDE, HIGH])
@pytest.mark.parametrize("size", [(1280, 720), (960, 540)])
def test_the_name_of_a_corner_at_the_right_is_whole(size, board):
    side = np.s_[100:-20, : size[0] - 8]
    columns = changed_columns(picture(size, board, target=1)[side], picture(size, board, target=0)[side])
    assert columns.max() < size[0] - 8 - 2
