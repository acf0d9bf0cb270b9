"""What the cameras saw of the board: the input of every calibration step."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class BoardView:
    """The board in one image of one camera.

    `corner_ids` (n,) index `Board.corners_board_m`; `corners_px` (n, 2) distorted pixels, sub-pixel; `std_px` the
    expected error of a corner in this image. `frame` is the frame's number in its video, `time_ns` its capture time.
    """

    camera_id: str
    frame: int
    time_ns: int
    corner_ids: np.ndarray
    corners_px: np.ndarray
    std_px: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Detections:
    """All board views of a session, by camera, in order of time; and how many images were looked at and turned down.

    `rejected` counts images per camera and reason ("blur", "dark", "few corners", ...). `legacy` and `inverted` are
    what the board turned out to be; `legacy` is None where the two layouts are the same. `mirrored` names cameras that
    saw the board as a mirror shows it in every view, which is also how the back of a two-sided board looks;
    `corners_px` are pixels of the image as it is.
    """

    views: dict[str, list[BoardView]]
    image_size: dict[str, tuple[int, int]]
    looked_at: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, dict[str, int]] = field(default_factory=dict)
    legacy: bool | None = None
    inverted: bool = False
    mirrored: tuple[str, ...] = ()
