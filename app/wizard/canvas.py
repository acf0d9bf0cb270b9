"""The wizard's whole picture: the next pose in words, the cameras, who saw the board together, and what happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from app.viewer import palette
from app.viewer.font import draw_text, text_width, wrapped
from app.viewer.palette import bgr
from app.wizard.tile import CameraPanel, draw_bar, draw_tile, heat_map
from calibration.wizard.hints import Suggestion
from calibration.wizard.wizard import WizardStep

LEAST_SIZE = (960, 540)
KEYS = (
    ("space", "capture now"),
    ("u", "undo the last capture"),
    ("c", "calibrate from these captures and finish"),
    ("q", "quit, the captures are kept for --resume"),
    ("h", "this list"),
)
_BOX_SHADE = 0.3
_LEAST_NUMBER = 9
_BAR, _HINT, _GAP, _SIDE = 40, 66, 8, 0.27
_STATES = {
    "unseen": ("no board in sight", palette.QUIET),
    "moving": ("moving", palette.WARNING),
    "holding": ("hold still", palette.WARNING),
    "still": ("still", palette.GOOD),
}


@dataclass(kw_only=True)
class WizardScreen:
    """What the window shows at one moment.

    `shared` counts captures per pair, `pair_heat` has per ordered pair where in the first camera's image the board was
    while the second saw it. `events` are the latest first. `flash` in [0, 1] after a capture of `flashed` cameras.
    """

    panels: Sequence[CameraPanel]
    suggestion: Suggestion
    step: WizardStep
    captures: int = 0
    complete: bool = False
    shared: Mapping[tuple[str, str], int] = field(default_factory=dict)
    shared_enough: int = 1
    pair_heat: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    events: Sequence[tuple[str, str]] = ()
    flash: float = 0.0
    flashed: Sequence[str] = ()
    rmse_px: float | None = None
    why_no_estimate: str = ""
    corner_shape: tuple[int, int] = (1, 1)
    help: bool = False
    title: str = "Calibration wizard"


def draw_scene(scene: WizardScreen, width: int, height: int) -> np.ndarray:
    """The picture (height, width, 3) BGR; at least LEAST_SIZE."""
    width, height = max(width, LEAST_SIZE[0]), max(height, LEAST_SIZE[1])
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = bgr(palette.BACKGROUND)
    _draw_bar_line(canvas[:_BAR], scene)
    _draw_hint(canvas[_BAR : _BAR + _HINT], scene)
    top = _BAR + _HINT + _GAP
    side = round(width * _SIDE)
    _draw_tiles(canvas[top : height - _GAP, _GAP : width - side - _GAP], scene)
    _draw_side(canvas[top : height - _GAP, width - side : width - _GAP], scene)
    if scene.help:
        _draw_help(canvas)
    return canvas


def _draw_bar_line(bar: np.ndarray, scene: WizardScreen) -> None:
    bar[:] = bgr(palette.BAR)
    middle = _BAR // 2
    draw_text(bar, scene.title, 16, middle, 17, palette.TEXT)
    right = bar.shape[1] - 16
    right -= draw_text(bar, "h  help", right, middle + 1, 14, palette.QUIET, align=1.0) + 28
    error = "-" if scene.rmse_px is None else f"{scene.rmse_px:.2f}"
    for text, size, colour in (
        ("px", 14, palette.QUIET),
        (error, 16, palette.TEXT),
        ("reprojection", 14, palette.QUIET),
        ("", 14, palette.QUIET),
        (f"capture{'s' if scene.captures != 1 else ''}", 14, palette.QUIET),
        (str(scene.captures), 16, palette.GOOD if scene.complete else palette.TEXT),
    ):
        right -= draw_text(bar, text, right, middle + (size < 16), size, colour, align=1.0) + (6 if text else 20)


def _draw_hint(strip: np.ndarray, scene: WizardScreen) -> None:
    """The suggestion, as large as it fits, and the state of the board with the time to hold still."""
    strip[:] = bgr(palette.SHADOW)
    accent = palette.GOOD if scene.complete else palette.WARNING
    cv2.rectangle(strip, (0, 0), (4, strip.shape[0]), bgr(accent), cv2.FILLED)
    middle = strip.shape[0] // 2
    box = 190
    left = strip.shape[1] - box
    text, colour = _STATES[scene.step.state]
    draw_text(strip, text, left, middle - 8, 17, colour)
    draw_bar(strip, left, middle + 10, box - 20, 6, scene.step.hold, colour)
    size = 26.0
    while size > 13 and text_width(scene.suggestion.text, size) > left - 40:
        size -= 1
    note = scene.step.note
    lines = wrapped(scene.suggestion.text, size, left - 40)
    for number, line in enumerate(lines):
        y = middle - (10 if note else 0) + round(17 * (number - (len(lines) - 1) / 2))
        draw_text(strip, line, 22, y, size, palette.TEXT)
    if note:
        draw_text(strip, note, 22, middle + 18, 14, palette.QUIET)


def _draw_tiles(area: np.ndarray, scene: WizardScreen) -> None:
    columns, rows = tile_grid(len(scene.panels), area.shape[1], area.shape[0])
    width = (area.shape[1] - (columns - 1) * _GAP) // columns
    height = (area.shape[0] - (rows - 1) * _GAP) // rows
    colour = _STATES[scene.step.state][1]
    for number, panel in enumerate(scene.panels):
        row, column = divmod(number, columns)
        left, top = column * (width + _GAP), row * (height + _GAP)
        flash = scene.flash if panel.camera_id in scene.flashed else 0.0
        draw_tile(area[top : top + height, left : left + width], panel, colour, flash, scene.corner_shape)


def tile_grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Columns and rows that show `count` 16:9 images largest."""

    def size(columns: int) -> float:
        rows = -(-count // columns)
        return min(width / columns, height / rows * 16 / 9)

    columns = max(range(1, count + 1), key=size)
    return columns, -(-count // columns)


def _draw_side(side: np.ndarray, scene: WizardScreen) -> None:
    """Who saw the board together, and the last events."""
    side[:] = bgr(palette.BAR)
    draw_text(side, "Seen together", 14, 20, 15, palette.TEXT)
    draw_text(side, f"captures, {scene.shared_enough} link", side.shape[1] - 14, 21, 12, palette.QUIET, align=1.0)
    bottom = _draw_pairs(side, scene, 40)
    y = bottom + 24
    draw_text(side, "Captures", 14, y, 15, palette.TEXT)
    if scene.why_no_estimate:
        y += 24
        draw_text(
            side, _cut(f"no calibration yet: {scene.why_no_estimate}", 12, side.shape[1] - 28), 14, y, 12, palette.QUIET
        )
    for number, (head, text) in enumerate(scene.events):
        y += 24
        if y > side.shape[0] - 12:
            break
        shade = palette.TEXT if number == 0 else palette.QUIET
        x = 14 + draw_text(side, head, 14, y, 13, palette.GOOD if number == 0 else palette.QUIET) + 8
        draw_text(side, _cut(text, 13, side.shape[1] - x - 12), x, y, 13, shade)


def _draw_pairs(side: np.ndarray, scene: WizardScreen, top: int) -> int:
    """In row a and column b: where in a's image the board was while b saw it, and how often. Returns the lower end."""
    names = [panel.camera_id for panel in scene.panels]
    label = min(56, max(text_width(name, 11) for name in names) + 6)
    width = (side.shape[1] - 24 - label) // len(names)
    height = max(14, round(width * 0.62))
    for column, name in enumerate(names):
        middle = 12 + label + column * width + width // 2
        draw_text(side, _end(name, 11, width - 2), middle, top + 4, 11, palette.QUIET, align=0.5)
    top += 16
    for row, panel in enumerate(scene.panels):
        y = top + row * height
        draw_text(side, _end(panel.camera_id, 11, label), 12, y + height // 2, 11, palette.QUIET)
        for column, other in enumerate(names):
            x = 12 + label + column * width
            own = panel.camera_id == other
            heat = panel.heat if own else scene.pair_heat.get((panel.camera_id, other))
            if heat is None:
                continue
            part = side[y : y + height - 3, x : x + width - 3]
            part[:] = heat_map(heat, part.shape[1], part.shape[0])
            pair = (panel.camera_id, other) if (panel.camera_id, other) in scene.shared else (other, panel.camera_id)
            count = panel.views if own else scene.shared.get(pair, 0)
            enough = own or count >= scene.shared_enough
            colour = palette.QUIET if own else palette.TEXT if enough else palette.WARNING if count else palette.BAD
            part[:] = (part * 0.75).astype(np.uint8)
            number, size = str(count), min(15, height * 0.42)
            if text_width(number, _LEAST_NUMBER) < part.shape[1] - 4:
                size = max(size, _LEAST_NUMBER)
            box = part[-round(size) - 2 :, -text_width(number, size) - 6 :]
            box[:] = (box * _BOX_SHADE).astype(np.uint8)
            draw_text(part, number, part.shape[1] - 4, part.shape[0] - round(size / 2) - 1, size, colour, align=1.0)
    return top + len(names) * height


def _cut(text: str, size_px: float, width: int) -> str:
    """The text, shortened to a width."""
    if text_width(text, size_px) <= width:
        return text
    while text and text_width(text + "...", size_px) > width:
        text = text[:-1]
    return text + "..."


def _end(text: str, size_px: float, width: int) -> str:
    """As much of a camera's name as fits: of its end, which tells it from the others."""
    while text and text_width(text, size_px) > width:
        text = text[1:]
    return text


def _draw_help(canvas: np.ndarray) -> None:
    width, height = 460, 34 * len(KEYS) + 74
    left, top = (canvas.shape[1] - width) // 2, (canvas.shape[0] - height) // 2
    canvas[:] = (canvas * 0.4).astype(np.uint8)
    card = canvas[top : top + height, left : left + width]
    card[:] = bgr(palette.BAR)
    cv2.rectangle(card, (0, 0), (width - 1, height - 1), bgr(palette.GRID), 1)
    draw_text(card, "Keys", 24, 30, 19, palette.TEXT)
    draw_text(card, "a still board is captured by itself", width - 24, 31, 13, palette.QUIET, align=1.0)
    for row, (key, meaning) in enumerate(KEYS):
        y = 76 + row * 34
        draw_text(card, key, 24, y, 16, palette.WARNING)
        draw_text(card, meaning, 104, y, 16, palette.TEXT)
