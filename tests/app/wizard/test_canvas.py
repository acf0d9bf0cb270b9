"""The wizard's picture: with many cameras and long names, too, nothing covers anything else or is cut off."""

from dataclasses import replace

import numpy as np
import pytest

from app.wizard.canvas import WizardScreen, draw_scene
from app.wizard.tile import CameraPanel, draw_tile
from calibration.image_cells import GRID
from calibration.wizard.hints import Need, Suggestion
from calibration.wizard.wizard import WizardStep

NEEDS = ("views", "image", "tilt", "distance")
LONGEST_ID = "studio-upper-left-camera-0{}-end"
STEP = WizardStep(state="still", hold=1.0, note="This pose adds nothing new: move on.")


def changed_columns(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.flatnonzero((one != other).any((0, 2)))


def tile(done: list[float], width: int) -> np.ndarray:
    needs = [Need(name, part) for name, part in zip(NEEDS, done, strict=True)]
    out = np.zeros((143, width, 3), np.uint8)
    draw_tile(out, CameraPanel(camera_id="cam_1", needs=needs, views=123, rmse_px=12.34), np.zeros(3), 0.0, (3, 4))
    return out


@pytest.mark.parametrize("width", [200, 223, 320])
def test_no_need_covers_the_next_one(width):
    """`done` has a colour of its own for name and bar."""
    none = tile([0.0] * 4, width)
    spans = [changed_columns(none, tile([float(each == name) for each in NEEDS], width)) for name in NEEDS]
    for name, (left, right) in zip(NEEDS, zip(spans[:-1], spans[1:], strict=True), strict=False):
        assert left.max() < right.min(), name


@pytest.mark.parametrize("size", [(1280, 720), (960, 540)])
def test_the_longest_hint_is_whole_and_ends_before_the_state(size):
    lost = f"{LONGEST_ID.format(1)}, {LONGEST_ID.format(2)}"
    hint = f"All but {lost} have enough. Bring {lost} back, or press c to calibrate."

    def strip(text: str) -> np.ndarray:
        screen = WizardScreen(panels=[CameraPanel(camera_id="cam_0")], suggestion=Suggestion(text), step=STEP)
        return draw_scene(screen, *size)[40:106]

    assert changed_columns(strip(""), strip(hint)).max() < size[0] - 190
    assert len(changed_columns(strip(hint), strip(hint.replace("calibrate.", "end."))))


@pytest.mark.parametrize("name", ["cam_{}", LONGEST_ID[:-4]])
def test_names_of_cameras_beside_the_pairs_tell_them_apart(name):
    panels = [CameraPanel(camera_id=name.format(number), heat=np.zeros(GRID, int)) for number in range(16)]
    screen = WizardScreen(panels=panels, suggestion=Suggestion("go"), step=STEP)
    renamed = [*panels[:5], replace(panels[5], camera_id=name.format(7)), *panels[6:]]
    side = np.s_[150:400, 1280 - 345 :]
    one, other = draw_scene(screen, 1280, 720)[side], draw_scene(replace(screen, panels=renamed), 1280, 720)[side]
    assert (one[:, 60:] != other[:, 60:]).any(), "in the row above"
    assert (one[:, :60] != other[:, :60]).any(), "in the column beside"
