"""The touch test's picture: what to touch in words, the cameras with hand and corner drawn in, and the board."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from app.evaluation.grip import TIPS
from app.evaluation.touch_targets import Target
from app.touch.guide import GuideState
from app.touch.plan import Prompt, prompt_text
from app.viewer import palette
from app.viewer.font import draw_text, text_width
from app.viewer.palette import bgr
from app.wizard.canvas import tile_grid
from app.wizard.tile import CameraPanel, draw_absence, faded
from calibration.board.board import Board
from calibration.hand import BONES
from calibration.rig import Rig, RigCamera

_BANNER, _GAP, _SIDE, _STATE = 74, 8, 0.27, 310
KEYS = "s  skip     b  once more     q  finish"
_STATES: dict[GuideState, tuple[str, np.ndarray]] = {
    "unseen": ("no hand or no board in sight", palette.QUIET),
    "away": ("not there yet", palette.WARNING),
    "holding": ("hold still", palette.GOOD),
    "done": ("done", palette.GOOD),
}


@dataclass(kw_only=True)
class TouchScreen:
    """What the window shows at one moment: the cameras in the order of the rig, hands in the world, the board's pose
    (None where it is not known), the touch that is asked for, how far it is, and how many of how many are done."""

    panels: Sequence[CameraPanel]
    hands_world_m: Sequence[np.ndarray]
    T_world_board: np.ndarray | None
    prompt: Prompt | None
    state: GuideState
    held: float = 0.0
    done: int = 0
    total: int = 0
    events: Sequence[str] = field(default_factory=list)


def draw_touch(
    screen: TouchScreen, rig: Rig, board: Board, targets: Sequence[Target], size: tuple[int, int]
) -> np.ndarray:
    """The picture (height, width, 3) BGR of `size` (width, height)."""
    width, height = size
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = bgr(palette.BACKGROUND)
    _banner(canvas[:_BANNER], screen, targets)
    side = round(width * _SIDE)
    _cameras(canvas[_BANNER + _GAP : height - _GAP, _GAP : width - side - _GAP], screen, rig, targets)
    _board(canvas[_BANNER + _GAP : height - _GAP, width - side : width - _GAP], screen, board, targets)
    return canvas


def _banner(strip: np.ndarray, screen: TouchScreen, targets: Sequence[Target]) -> None:
    strip[:] = bgr(palette.SHADOW)
    text, colour = _STATES[screen.state]
    told = "Done: press q" if screen.prompt is None else prompt_text(screen.prompt, targets)
    size = 26.0
    while size > 13 and text_width(told, size) > strip.shape[1] - _STATE - 40:
        size -= 1
    draw_text(strip, told, 20, 28, size, palette.TEXT)
    draw_text(strip, KEYS, 20, 58, 13, palette.QUIET)
    left, bar = strip.shape[1] - _STATE, _STATE - 20
    draw_text(strip, f"{screen.done} of {screen.total}", strip.shape[1] - 16, 26, 17, palette.TEXT, align=1.0)
    draw_text(strip, text, left, 26, 15, colour)
    cv2.rectangle(strip, (left, 50), (left + bar, 60), bgr(palette.BAR), cv2.FILLED)
    cv2.rectangle(strip, (left, 50), (left + round(bar * screen.held), 60), bgr(colour), cv2.FILLED)


def _cameras(area: np.ndarray, screen: TouchScreen, rig: Rig, targets: Sequence[Target]) -> None:
    columns, rows = tile_grid(len(rig.cameras), area.shape[1], area.shape[0])
    width, height = (area.shape[1] - _GAP) // columns - _GAP, (area.shape[0] - _GAP) // rows - _GAP
    for number, (camera, panel) in enumerate(zip(rig.cameras, screen.panels, strict=True)):
        row, column = divmod(number, columns)
        top, left = row * (height + _GAP), column * (width + _GAP)
        tile = area[top : top + height, left : left + width]
        tile[:] = bgr(palette.BAR)
        if panel.image is not None:
            scale = min(width / panel.image.shape[1], height / panel.image.shape[0])
            size = max(1, int(panel.image.shape[1] * scale)), max(1, int(panel.image.shape[0] * scale))
            small = cv2.resize(panel.image, size, interpolation=cv2.INTER_AREA)
            if panel.live:
                _draw_touch(small, scale, camera, screen, targets)
            else:
                small = faded(small)
            tile[: small.shape[0], : small.shape[1]] = small
        if not panel.live:
            draw_absence(tile, panel)
        draw_text(tile, camera.camera_id, 8, 12, 14, palette.TEXT)


def _draw_touch(
    image: np.ndarray, scale: float, camera: RigCamera, screen: TouchScreen, targets: Sequence[Target]
) -> None:
    """The hands, and the corner to touch, in a camera's image of `scale`."""
    for joints_m in screen.hands_world_m:
        _skeleton(image, camera.project(joints_m) * scale, screen.prompt)
    if screen.prompt is not None and screen.T_world_board is not None:
        place = screen.T_world_board @ np.append(targets[screen.prompt.target].place_board_m, 1.0)
        _mark(image, camera.project(place[None, :3])[0] * scale)


def _mark(image: np.ndarray, pixel: np.ndarray) -> None:
    if np.isfinite(pixel).all() and np.abs(pixel).max() < 1e4:
        at = round(float(pixel[0])), round(float(pixel[1]))
        cv2.circle(image, at, 9, bgr(palette.WARNING), 2, cv2.LINE_AA)


def _skeleton(image: np.ndarray, joints_px: np.ndarray, prompt: Prompt | None) -> None:
    if not np.isfinite(joints_px).all() or np.abs(joints_px).max() > 1e4:
        return
    points = np.round(joints_px).astype(int).tolist()
    for parent, child in BONES:
        cv2.line(image, points[parent], points[child], bgr(palette.FRUSTUM), 1, cv2.LINE_AA)
    if prompt is not None:
        cv2.circle(image, points[TIPS[prompt.finger]], 4, bgr(palette.GOOD), cv2.FILLED, cv2.LINE_AA)


def _board(area: np.ndarray, screen: TouchScreen, board: Board, targets: Sequence[Target]) -> None:
    """The printed face with its corners; the one to touch is marked."""
    area[:] = bgr(palette.BAR)
    places_m = board.corners_board_m[:, :2]
    low, span = places_m.min(0), np.maximum(np.ptp(places_m, axis=0), 1e-6)
    name_px = max(text_width(target.name, 18) for target in targets)
    room = min((area.shape[1] - 48 - name_px) / span[0], (area.shape[0] - 160) / span[1])

    def pixel(place_m: np.ndarray) -> tuple[int, int]:
        x, y = (place_m[:2] - low) * room + [30, 44]
        return round(float(x)), round(float(y))

    draw_text(area, "the board, as printed", 12, 16, 14, palette.QUIET)
    for place_m in places_m:
        cv2.drawMarker(area, pixel(place_m), bgr(palette.STALE), cv2.MARKER_CROSS, 9)
    for number, target in enumerate(targets):
        wanted = screen.prompt is not None and screen.prompt.target == number
        x, y = pixel(target.place_board_m)
        colour = palette.WARNING if wanted else palette.QUIET
        cv2.circle(area, (x, y), 9 if wanted else 4, bgr(colour), cv2.FILLED, cv2.LINE_AA)
        draw_text(area, target.name, x + 12, y - 10, 18 if wanted else 13, colour)
    for number, event in enumerate(screen.events):
        draw_text(area, event, 12, area.shape[0] - 16 - 18 * number, 12, palette.QUIET)
