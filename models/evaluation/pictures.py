"""Pictures of single windows: every view's crop with the true hand and the estimated one."""

import base64

import cv2
import numpy as np

from calibration.hand import BONES
from models.data.windows import WindowDataset
from models.hand.crop import to_pixels

TRUTH_BGR, ESTIMATE_BGR = (120, 220, 90), (60, 90, 245)
_SCALE = 2
_ACROSS = 4


def window_picture(data: WindowDataset, number: int, views: int, joints_m: np.ndarray) -> str:
    """The newest frame's crops, four to a row, as a `data:` URL of a JPEG: truth in green, joints (21, 3) in red."""
    item = data[(number, 0, views)]
    tiles = []
    for view in np.flatnonzero(item["view_mask"][-1].numpy()):
        crop = item["crops_rgb"][-1, view].numpy()[..., ::-1]
        tile = cv2.resize(crop, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_CUBIC)
        P = item["P_crop"][-1, view].double().numpy()
        for joints, colour in ((item["joints_m"][-1].double().numpy(), TRUTH_BGR), (joints_m, ESTIMATE_BGR)):
            _draw(tile, to_pixels(P, joints), colour)
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % min(len(tiles), _ACROSS))
    picture = np.vstack([np.hstack(tiles[first : first + _ACROSS]) for first in range(0, len(tiles), _ACROSS)])
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _draw(tile: np.ndarray, keypoints_px: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Bones between keypoints (21, 2), crop pixels, with the shift that enlarging by whole pixels brings."""
    points = ((keypoints_px + 0.5) * _SCALE - 0.5) * 16
    there = np.all(np.isfinite(points), axis=1) & np.all(np.abs(points) < 1e5, axis=1)
    for a, b in BONES:
        if there[a] and there[b]:
            start, end = ([int(each) for each in points[joint].round()] for joint in (a, b))
            cv2.line(tile, start, end, colour, 1, cv2.LINE_AA, 4)
