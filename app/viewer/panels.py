"""The cameras' live images with the hands drawn on them, as tiles in one strip."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from app.transport.messages import CameraReport, HandPose
from app.viewer import palette
from app.viewer.camera_rates import CameraRates
from app.viewer.font import draw_text, text_width
from app.viewer.hand_card import colour_of
from app.viewer.palette import bgr
from app.viewer.reduced import reduced
from app.viewer.skeleton import FINGER_BONES, joint_colours
from calibration.camera import Camera
from calibration.rig import RigCamera

STALE_NS = 500_000_000
_GAP = 6
_WIDEST = 0.25
_MOST_IN_ROW = 8
_SHIFT = 4
# Of cameras whose images are not new.
_STATE_COLOURS = {"streaming": palette.WARNING, "starting": palette.WARNING, "ended": palette.QUIET}


@dataclass(kw_only=True)
class Tile:
    """One camera's newest image with the hands drawn on it, and when it came (monotonic ns).

    `large` is the same image without lens distortion and hands, only while somebody looks through this camera. `sides`
    says where in `image` the wrist of each hand lies, `hands` which are followed.
    """

    camera: RigCamera
    number: int
    width: int
    height: int
    report: CameraReport | None = None
    image: np.ndarray | None = field(default=None, repr=False)
    large: np.ndarray | None = field(default=None, repr=False)
    sides: list[tuple[str, int, int]] = field(default_factory=list)
    hands: list[HandPose] = field(default_factory=list, repr=False)
    figures: CameraRates = CameraRates()
    arrived_ns: int = 0

    def is_live(self, now_ns: int) -> bool:
        streaming = self.report is not None and self.report.state == "streaming"
        return streaming and self.image is not None and now_ns - self.arrived_ns < STALE_NS

    def colour(self, now_ns: int) -> np.ndarray:
        """The colour of the camera's state: green while its images are new."""
        if self.is_live(now_ns):
            return palette.GOOD
        return palette.BAD if self.report is None else _STATE_COLOURS.get(self.report.state, palette.BAD)

    def show(self, image: np.ndarray, hands: list[HandPose], now_ns: int) -> None:
        """Keep a new image, scaled to the tile, with the hands drawn on it."""
        image = reduced(image, self.width, self.height)
        scale = np.array([self.width / self.camera.camera.width, self.height / self.camera.camera.height])
        self.sides = []
        for hand in hands:
            draw_hand(image, self.camera, hand)
            wrist_px = self.camera.project(np.array(hand.joints_world_m[0])) * scale
            if np.isfinite(wrist_px).all() and np.abs(wrist_px).max() < 1e5:
                self.sides.append((hand.hand, round(float(wrist_px[0])), round(float(wrist_px[1]))))
        self.image, self.arrived_ns = image, now_ns


def tile_size(camera: Camera, width: int, height: int) -> tuple[int, int]:
    """The largest size of a camera's image within a width and a height."""
    fit = min(width / camera.width, height / camera.height)
    return max(2, round(camera.width * fit)), max(2, round(camera.height * fit))


def draw_hand(image: np.ndarray, camera: RigCamera, hand: HandPose) -> None:
    """Draw a hand's projected bones and joints, and its matched detections as dots, on a scaled image of a camera."""
    scale = np.array([image.shape[1] / camera.camera.width, image.shape[0] / camera.camera.height])
    joints = _fixed_point((camera.project(np.array(hand.joints_world_m)) + 0.5) * scale - 0.5, image)
    colours = [bgr(colour) for colour in joint_colours(hand.hand)]
    thick = max(1, round(image.shape[1] / 160))
    for outline in (True, False):
        for first, last in FINGER_BONES:
            start, end = joints[first], joints[last]
            if start and end:
                colour = (20, 16, 12) if outline else colours[last]
                width = thick + 2 if outline else thick
                cv2.line(image, start, end, colour, width, cv2.LINE_AA, _SHIFT)
    for joint, colour in zip(joints, colours, strict=True):
        if joint:
            cv2.circle(image, joint, (thick + 1) << (_SHIFT - 1), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    for point in _fixed_point((_detection(hand, camera.camera_id) + 0.5) * scale - 0.5, image):
        if point:
            cv2.circle(image, point, thick << (_SHIFT - 1), (255, 255, 255), cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _detection(hand: HandPose, camera_id: str) -> np.ndarray:
    return np.array(hand.detections_px.get(camera_id, []), dtype=np.float64).reshape(-1, 2)


def _fixed_point(points_px: np.ndarray, image: np.ndarray) -> list[tuple[int, int] | None]:
    """Points as OpenCV's fixed point; None for those far outside the image."""
    reach = 2 * max(image.shape)
    near = (np.abs(np.nan_to_num(points_px, nan=1e9)) < reach).all(axis=1)
    return [
        (round(x * (1 << _SHIFT)), round(y * (1 << _SHIFT))) if ok else None
        for (x, y), ok in zip(points_px.tolist(), near, strict=True)
    ]


class Strip:
    """Tiles side by side, in rows as wide as the window. `scale` is how many pixels a unit of its letters has."""

    def __init__(self, cameras: tuple[RigCamera, ...], window_width: int, scale: float = 1.0) -> None:
        rows = -(-len(cameras) // _MOST_IN_ROW)
        self._columns = -(-len(cameras) // rows)
        tile_width = int(min(_WIDEST * window_width, (window_width - _GAP) / self._columns)) - _GAP
        tile_height = round(tile_width * 9 / 16)
        self.width, self.height, self.scale = window_width, rows * (tile_height + _GAP) + _GAP, scale
        self._left = (window_width - self._columns * (tile_width + _GAP) + _GAP) // 2
        self._tile_width, self._tile_height = tile_width, tile_height
        self.tiles = {}
        self._blank_for: tuple = ()
        self._empty = np.empty(0)
        for number, camera in enumerate(cameras, start=1):
            width, height = tile_size(camera.camera, tile_width, tile_height)
            self.tiles[camera.camera_id] = Tile(camera=camera, number=number, width=width, height=height)

    def draw(self, now_ns: int) -> np.ndarray:
        """The strip (height, width, 3), BGR. An image that is not new is grey and says why."""
        strip = self._blank().copy()
        for place, tile in enumerate(self.tiles.values()):
            self._draw_tile(self._part(strip, place), tile, now_ns)
        return strip

    def _part(self, strip: np.ndarray, place: int) -> np.ndarray:
        """Of the strip what the tile of that number has."""
        row, column = divmod(place, self._columns)
        left, top = self._left + column * (self._tile_width + _GAP), _GAP + row * (self._tile_height + _GAP)
        return strip[top : top + self._tile_height, left : left + self._tile_width]

    def _blank(self) -> np.ndarray:
        """The strip with empty tiles, kept for as long as the theme is the same."""
        theme = (*palette.BAR, *palette.BACKGROUND)
        if theme != self._blank_for:
            self._blank_for, self._empty = theme, np.empty((self.height, self.width, 3), np.uint8)
            self._empty[:] = bgr(palette.BAR)
            for place in range(len(self.tiles)):
                self._part(self._empty, place)[:] = bgr(palette.BACKGROUND)
        return self._empty

    def _draw_tile(self, part: np.ndarray, tile: Tile, now_ns: int) -> None:
        live, scale = tile.is_live(now_ns), self.scale
        if tile.image is not None:
            left, top = (part.shape[1] - tile.width) // 2, (part.shape[0] - tile.height) // 2
            part[top : top + tile.height, left : left + tile.width] = tile.image if live else greyed(tile.image)
            for side, x, y in tile.sides:
                colour = palette.HANDS_ON_IMAGE[side] if live else palette.STALE
                draw_text(part, side[0].upper(), left + x, top + y + round(14 * scale), 15 * scale, colour, align=0.5)
        name_ends = self._draw_name(part, tile, now_ns)
        self._draw_figures(part, tile)
        if live:
            self._draw_hands(part, tile, name_ends)
        else:
            state = tile.report.state if tile.report else "starting"
            across, down = part.shape[1] // 2, max(part.shape[0] // 2, round(52 * scale))  # below the figures
            message = _why_not_live(tile, state, now_ns)
            colour = tile.colour(now_ns) if tile.image is None else palette.ON_IMAGE
            draw_text(part, message, across, down, _fitting(message, 17 * scale, part), colour, align=0.5)
            if tile.report is not None and tile.report.detail:
                y = down + round(20 * scale)
                colour = palette.TEXT if tile.image is None else palette.ON_IMAGE
                detail = tile.report.detail[:48]
                draw_text(part, detail, across, y, _fitting(detail, 12 * scale, part), colour, align=0.5)

    def _draw_name(self, part: np.ndarray, tile: Tile, now_ns: int) -> int:
        """Gives where it ends, in pixels from the left."""
        scale, name = self.scale, f"{tile.number}  {tile.camera.camera_id}"
        ends = text_width(name, 13 * scale) + round(32 * scale)
        _darken(part[: round(22 * scale), :ends])
        middle = round(11 * scale)
        cv2.circle(part, (middle, middle), round(4 * scale), bgr(tile.colour(now_ns)), cv2.FILLED, cv2.LINE_AA)
        draw_text(part, name, round(21 * scale), middle, 13 * scale, palette.ON_IMAGE)
        return ends

    def _draw_figures(self, part: np.ndarray, tile: Tile) -> None:
        """Below the name: rate, latency and losses, as far as there is room."""
        words, scale, height = "", self.scale, round(18 * self.scale)
        for word in tile.figures.parts() if tile.report is not None else []:
            longer = f"{words} · {word}" if words else word
            if text_width(longer, 12 * scale) + round(16 * scale) <= part.shape[1]:
                words = longer
        band = part[round(22 * scale) :][:height, : text_width(words, 12 * scale) + round(16 * scale)]
        if words:
            _darken(band)
            draw_text(band, words, round(8 * scale), height // 2 - 1, 12 * scale, palette.ON_IMAGE)

    def _draw_hands(self, part: np.ndarray, tile: Tile, left: int) -> None:
        """A letter for each hand in its state's colour, grey where it is seen, but not by this camera; in rows from
        the right to `left`."""
        scale, right, y = self.scale, part.shape[1] - round(13 * self.scale), round(12 * self.scale)
        x = right
        for hand in reversed(tile.hands):
            if x < left + round(9 * scale) and x < right:
                x, y = right, y + round(20 * scale)
            unused = hand.state == "seen" and tile.camera.camera_id not in hand.views
            colour = palette.STALE if unused else colour_of(hand)
            cv2.circle(part, (x, y), round(8 * scale), bgr(colour), cv2.FILLED, cv2.LINE_AA)
            draw_text(part, hand.hand[0].upper(), x, y, 12 * scale, palette.BACKGROUND, align=0.5)
            x -= round(20 * scale)


def _fitting(text: str, size: float, part: np.ndarray) -> float:
    """The size at which a text is no wider than a part of the strip, at most `size`."""
    return min(size, size * 0.96 * part.shape[1] / max(1, text_width(text, size)))


def _darken(part: np.ndarray) -> None:
    part[:] = cv2.convertScaleAbs(part, alpha=0.35)


def _why_not_live(tile: Tile, state: str, now_ns: int) -> str:
    if state != "streaming":
        return state.upper()
    if tile.image is None:
        return "no image"
    return f"no new image for {(now_ns - tile.arrived_ns) / 1e9:.1f} s"


def greyed(image: np.ndarray) -> np.ndarray:
    """A dim grey copy of a BGR image: no longer true."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.cvtColor((grey * 0.45).astype(np.uint8), cv2.COLOR_GRAY2BGR)


class Undistorter:
    """Takes the lens distortion out of images of one camera, scaled in any way; keeps the maps of the last scale."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._size = 0, 0

    def _set_size(self, width: int, height: int) -> None:
        camera, self._size = self._camera, (width, height)
        scale = np.diag([width / camera.width, height / camera.height, 1.0])
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        matrix = np.linalg.inv(half) @ scale @ half @ camera.matrix
        make = cv2.fisheye.initUndistortRectifyMap if camera.lens == "fisheye4" else cv2.initUndistortRectifyMap
        self._maps = make(matrix, camera.distortion, np.eye(3), matrix, (width, height), cv2.CV_16SC2)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if image.shape[1::-1] != self._size:
            self._set_size(*image.shape[1::-1])
        return cv2.remap(image, self._maps[0], self._maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
