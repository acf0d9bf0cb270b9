"""One camera in the wizard's window: its image, the board in it, what it has covered, and what it still needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from app.transport.messages import CameraReport
from app.viewer import palette
from app.viewer.font import draw_text, text_width, wrapped
from app.viewer.palette import bgr
from calibration.board.views import BoardView
from calibration.wizard.hints import Need

FOOTER = 34
_FULL_HEAT = 40
_SHIFT = 4
_FRESH_S = 0.7
_BADGE_SHADE = 0.35


@dataclass(kw_only=True)
class CameraPanel:
    """What a tile shows. `image` is BGR, None before the first; `fresh` says that it is new.

    `heat` (rows, columns) corners per cell. `region` is the third of the image to move the board to. `live_px` is the
    error of this moment under the quick calibration, `rmse_px` that of the captures.
    """

    camera_id: str
    state: str = "starting"
    detail: str = ""
    image: np.ndarray | None = field(default=None, repr=False)
    fresh: bool = False
    view: BoardView | None = None
    rejected: str = ""
    heat: np.ndarray | None = None
    needs: Sequence[Need] = ()
    views: int = 0
    region: tuple[int, int] | None = None
    live_px: float | None = None
    rmse_px: float | None = None

    @property
    def live(self) -> bool:
        return self.state == "streaming" and self.fresh


def camera_panel(
    camera_id: str, report: CameraReport, seen: tuple[float, np.ndarray] | None, now: float, **more: Any
) -> CameraPanel:
    """A camera as it is `now`. `seen` is its newest image and when it was seen, in seconds of the monotonic clock."""
    at, image = seen or (0.0, None)
    fresh = now - at < _FRESH_S
    # A recording's grabbers are ahead of its sets: what is shown is still before its end.
    state = "streaming" if fresh and report.state == "ended" else report.state
    return CameraPanel(camera_id=camera_id, state=state, detail=report.detail, image=image, fresh=fresh, **more)


def draw_tile(out: np.ndarray, panel: CameraPanel, outline_colour: np.ndarray, flash: float, corners: tuple[int, int]):
    """Draw into `out` (H, W, 3). `flash` in [0, 1] lights the frame up; `corners` is the board's corner shape."""
    height, width = out.shape[0] - FOOTER, out.shape[1]
    out[:] = bgr(palette.BAR)
    picture = out[:height]
    picture[:] = bgr(palette.SHADOW)
    if panel.image is not None:
        _draw_image(picture, panel, outline_colour, corners)
    _draw_badge(picture, panel)
    if not panel.live:
        draw_absence(picture, panel)
    _draw_footer(out[height:], panel)
    if flash > 0:
        edge = np.array(bgr(palette.GOOD)) * flash + np.array(bgr(palette.BAR)) * (1 - flash)
        cv2.rectangle(out, (1, 1), (width - 2, height - 2), edge.tolist(), 3)


def _draw_image(picture: np.ndarray, panel: CameraPanel, outline_colour: np.ndarray, corners: tuple[int, int]) -> None:
    assert panel.image is not None
    scale = min(picture.shape[1] / panel.image.shape[1], picture.shape[0] / panel.image.shape[0])
    width, height = (max(2, round(side * scale)) for side in (panel.image.shape[1], panel.image.shape[0]))
    left, top = (picture.shape[1] - width) // 2, (picture.shape[0] - height) // 2
    small = cv2.resize(panel.image, (width, height), interpolation=cv2.INTER_AREA)
    if not panel.live:
        small = faded(small)
    if panel.heat is not None:
        tint_heat(small, panel.heat)
    if panel.region is not None:
        _draw_region(small, panel.region)
    if panel.view is not None and panel.fresh:
        _draw_board(small, panel.view, scale, outline_colour, corners)
    picture[top : top + height, left : left + width] = small


def faded(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) that is not of now: dark, without colours."""
    return cv2.cvtColor((cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) * 0.45).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def tint_heat(image: np.ndarray, heat: np.ndarray, strength: float = 0.42) -> None:
    """Tint the cells of an image (H, W, 3) green by how many corners were captured there."""
    rows, columns = heat.shape
    share = np.where(heat > 0, 0.35 + 0.65 * np.minimum(heat / _FULL_HEAT, 1.0), 0.0)
    x = np.linspace(0, image.shape[1], columns + 1).round().astype(int)
    y = np.linspace(0, image.shape[0], rows + 1).round().astype(int)
    colour = np.array(bgr(palette.GOOD))
    for row, column in zip(*np.nonzero(share), strict=True):
        part = image[y[row] : y[row + 1] - 1, x[column] : x[column + 1] - 1]
        alpha = strength * share[row, column]
        part[:] = (part * (1 - alpha) + colour * alpha).astype(np.uint8)


def _draw_region(image: np.ndarray, region: tuple[int, int]) -> None:
    """A dashed frame around the third of the image that the board should move to."""
    height, width = image.shape[:2]
    y0, y1 = (round(height * part / 3) for part in (region[0], region[0] + 1))
    x0, x1 = (round(width * part / 3) for part in (region[1], region[1] + 1))
    x0, y0, x1, y1 = x0 + 4, y0 + 4, x1 - 5, y1 - 5
    colour, dash = bgr(palette.WARNING), 9
    for x in range(x0, x1, 2 * dash):
        for y in (y0, y1):
            cv2.line(image, (x, y), (min(x + dash, x1), y), colour, 2, cv2.LINE_AA)
    for y in range(y0, y1, 2 * dash):
        for x in (x0, x1):
            cv2.line(image, (x, y), (x, min(y + dash, y1)), colour, 2, cv2.LINE_AA)


def _draw_board(image: np.ndarray, view: BoardView, scale: float, colour: np.ndarray, corners: tuple[int, int]) -> None:
    points = np.round(((view.corners_px + 0.5) * scale - 0.5) * (1 << _SHIFT)).astype(np.int32)
    place = dict(zip(view.corner_ids.tolist(), points.tolist(), strict=True))
    for shade, thick in ((palette.SHADOW, 3), (colour, 1)):
        for corner, point in place.items():
            row, column = divmod(corner, corners[0])
            for other, there in ((corner + 1, column + 1 < corners[0]), (corner + corners[0], row + 1 < corners[1])):
                if there and other in place:
                    cv2.line(image, tuple(point), tuple(place[other]), bgr(shade), thick, cv2.LINE_AA, _SHIFT)
    radius = _dot_radius(points / (1 << _SHIFT))
    for point in points.tolist():
        for shade, size in ((palette.SHADOW, radius + 1), (colour, radius)):
            reach = round(size * (1 << _SHIFT))
            cv2.circle(image, tuple(point), reach, bgr(shade), cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _dot_radius(points: np.ndarray) -> float:
    """A fraction of the distance between neighbouring points (n, 2)."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(len(points), np.inf))
    return float(np.clip(0.17 * np.median(apart.min(axis=1)), 1.0, 3.5))


def _draw_badge(picture: np.ndarray, panel: CameraPanel) -> None:
    """The camera's name at the upper left; at the right what was wrong with the board, or the error of this moment."""
    band = picture[:24, : min(picture.shape[1], text_width(panel.camera_id, 14) + 36)]
    band[:] = (band * _BADGE_SHADE).astype(np.uint8)
    cv2.circle(picture, (13, 12), 4, bgr(palette.GOOD if panel.live else palette.BAD), cv2.FILLED, cv2.LINE_AA)
    draw_text(picture, panel.camera_id, 24, 12, 14, palette.TEXT)
    if panel.live and (panel.rejected or panel.live_px is not None):
        text, colour = panel.rejected, palette.WARNING
        if not text and panel.live_px is not None:
            text = f"now {panel.live_px:.2f} px" if panel.live_px < 100 else "now off"
            colour = _error_colour(panel.live_px)
        width = text_width(text, 14)
        band = picture[:24, max(0, picture.shape[1] - width - 18) :]
        band[:] = (band * _BADGE_SHADE).astype(np.uint8)
        draw_text(picture, text, picture.shape[1] - 9, 12, 14, colour, align=1.0)


def _error_colour(error_px: float) -> np.ndarray:
    return palette.GOOD if error_px < 1 else palette.WARNING if error_px < 3 else palette.BAD


def draw_absence(picture: np.ndarray, panel: CameraPanel) -> None:
    """Why there is no image of now, over `picture` (H, W, 3)."""
    middle_x, middle_y = picture.shape[1] // 2, picture.shape[0] // 3
    state = panel.state if panel.state != "streaming" else "no new image"
    colour = palette.QUIET if state in ("starting", "ended") else palette.BAD
    draw_text(picture, state.upper(), middle_x, middle_y, 19, colour, align=0.5)
    if panel.detail:
        for number, line in enumerate(wrapped(panel.detail, 12, picture.shape[1] - 12)):
            draw_text(picture, line, middle_x, middle_y + 22 + number * 15, 12, palette.TEXT, align=0.5)


def _draw_footer(footer: np.ndarray, panel: CameraPanel) -> None:
    """A bar for each need, and the error of the captures."""
    width = footer.shape[1]
    right = width - 10
    error = "-" if panel.rmse_px is None else f"{panel.rmse_px:.2f}"
    colour = palette.QUIET if panel.rmse_px is None else _error_colour(panel.rmse_px)
    right -= draw_text(footer, "px", right, FOOTER // 2 + 1, 12, palette.QUIET, align=1.0) + 4
    right -= draw_text(footer, error, right, FOOTER // 2, 15, colour, align=1.0) + 18
    if not panel.needs:
        return
    step = max(1, (right - 10) // len(panel.needs))
    size = 12
    while size > 7 and max(text_width(need.name, size) for need in panel.needs) > step - 3:
        size -= 1
    for number, need in enumerate(panel.needs):
        left = 10 + number * step
        length = step - 12
        colour = palette.GOOD if need.done >= 1 else palette.WARNING if need.done > 0 else palette.QUIET
        counted = f"{need.name} {panel.views}" if need.name == "views" else need.name
        label = counted if text_width(counted, size) <= step - 3 else need.name
        draw_text(footer, label, left, 12, size, palette.TEXT if need.done >= 1 else palette.QUIET)
        draw_bar(footer, left, 23, length, 4, need.done, colour)


def draw_bar(image: np.ndarray, left: int, top: int, length: int, height: int, done: float, colour: np.ndarray) -> None:
    cv2.rectangle(image, (left, top), (left + length, top + height - 1), bgr(palette.GRID), cv2.FILLED)
    if done > 0:
        end = left + max(1, round(length * min(done, 1.0)))
        cv2.rectangle(image, (left, top), (end, top + height - 1), bgr(colour), cv2.FILLED)


def heat_map(heat: np.ndarray, width: int, height: int) -> np.ndarray:
    """A small map (height, width, 3) of captured corners over an empty image."""
    small = np.empty((height, width, 3), np.uint8)
    small[:] = bgr(palette.SHADOW)
    tint_heat(small, heat, strength=0.95)
    return small
