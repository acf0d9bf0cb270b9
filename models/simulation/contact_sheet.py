"""One picture of many simulated hands, to look at."""

from pathlib import Path

import cv2
import numpy as np

from calibration.written_files import write_atomic
from models.hand.crop import hand_box, make_crop
from models.simulation.renderer import hands_in_image, render, render_crop
from models.simulation.simulated_rig import LAYOUTS, random_rig
from models.simulation.simulated_scene import SceneSettings, random_scene

_COLUMNS, _ROWS = 8, 4
_CROP_PX = 192
_IMAGE_PX = (512, 384)
_CAMERAS = 3
_FEWEST_VISIBLE = 11
_TRIES = 20


def contact_sheet(seed: int = 0, backgrounds: Path | None = None) -> np.ndarray:
    """A picture (H, W, 3) uint8 BGR: rows of crops of different people, then whole images of one rig.

    Raises UserError for a folder of backgrounds without a picture.
    """
    crops = [_crop(seed, index, backgrounds) for index in range(_COLUMNS * _ROWS)]
    rows = [np.hstack(crops[first : first + _COLUMNS]) for first in range(0, len(crops), _COLUMNS)]
    rig = random_rig(seed, "desk", _CAMERAS, *_IMAGE_PX)
    state = random_scene(rig, seed, SceneSettings(anywhere=False, backgrounds=backgrounds)).state(1.0)
    rows.append(np.hstack([render(camera, state).image for camera in rig.cameras]))
    return np.vstack(rows)


def write_contact_sheet(path: Path, seed: int = 0, backgrounds: Path | None = None) -> None:
    """Write the picture, a .png or a .jpg. Raises UserError as `contact_sheet` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(path.suffix, contact_sheet(seed, backgrounds))
    write_atomic(path, data.tobytes())


def _crop(seed: int, index: int, backgrounds: Path | None) -> np.ndarray:
    """A hand of a scene of its own, from a camera and at a time that show most of it."""
    random = np.random.default_rng([seed, 71, index])
    number = int(random.integers(2**31))
    rig = random_rig(number, LAYOUTS[index % len(LAYOUTS)], _CAMERAS, 640, 480)
    hands = ("right", "left", "both")[index % 3]
    scene = random_scene(rig, number, SceneSettings(hands=hands, backgrounds=backgrounds))
    for attempt in range(_TRIES):
        state, camera = scene.state(random.uniform(0, 60)), rig.cameras[attempt % _CAMERAS]
        seen = hands_in_image(camera, state)
        best = int(np.argmax([hand.visible.sum() for hand in seen]))
        if seen[best].visible.sum() >= _FEWEST_VISIBLE or attempt == _TRIES - 1:
            target_m, half_width_m = hand_box(state.hands[best].joints_m)
            return render_crop(make_crop(camera, target_m, half_width_m, _CROP_PX), camera, state)
    raise AssertionError
