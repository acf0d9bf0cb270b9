"""What lies flat on the window: the text line, cards, the strip of images, the list of keys.

Open3D's legacy window draws no text, and no images beside meshes. These are textured rectangles just beyond the near
plane, moved with the eye so that one texture pixel is one window pixel.
"""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import open3d as o3d

from app.transport.messages import PoseSet
from app.viewer import palette
from app.viewer.feed import Feed
from app.viewer.floating_labels import FloatingLabels, Label
from app.viewer.geometry import Picture
from app.viewer.hand_card import distance_card, hand_card
from app.viewer.help_card import help_card
from app.viewer.hud import LINE_HEIGHT, std_scale, text_line
from app.viewer.keys import Key
from app.viewer.latency_bar import latency_bar
from app.viewer.measure import Distance
from app.viewer.panels import Strip, Tile, Undistorter
from app.viewer.recording_card import recording_card
from app.viewer.replay import Replay
from app.viewer.sheet import Sheet, scale_of
from app.viewer.state import Shown, Toggles
from app.viewer.time_line import HEIGHT as TIME_LINE_HEIGHT
from app.viewer.time_line import time_at, time_line
from app.viewer.view import Viewpoint
from calibration.rig import Rig

_REDRAW_NS = 200_000_000
_LARGE_WIDTH = 1280
_GAP = 10
# In pixels: in a window that is narrower the strip of images is cut off, as its tiles would have no pixel.
_NARROWEST = 160
# Depths in units of the near plane: what is nearer covers what is farther.
_CARD_DEPTH, _BAR_DEPTH, _LABEL_DEPTH = 1.1, 1.2, 1.4


class Overlay:
    """Everything with a fixed place in the window. Redrawn when it changes and five times a second.

    `keys` are those that the list shows. A `replay` has a time line.
    """

    def __init__(
        self,
        window: o3d.visualization.Visualizer,
        rig: Rig,
        title: str,
        size: tuple[int, int],
        near_m: float,
        fine: int,
        keys: Sequence[Key],
        replay: Replay | None = None,
    ) -> None:
        self._rig, self._title, self._near_m, self._keys = rig, title, near_m, keys
        self._replay, self._time_top_px = replay, 0
        self._time_drawn_for: tuple = ()
        self.scale = scale_of(*size)
        self._strip = Strip(rig.cameras, size[0], self.scale)
        names = ("line", "images", "help", "std", "hands", "recording", "distance", "latency", "time")
        self._pictures = {name: Picture(window, fine) for name in names}
        self._labels = FloatingLabels(window, _LABEL_DEPTH * near_m)
        self._undistort = {camera.camera_id: Undistorter(camera.camera) for camera in rig.cameras}
        self._drawn_ns = -_REDRAW_NS
        self._drawn_for: tuple | None = None
        self._images_changed = True

    @property
    def tiles(self) -> dict[str, Tile]:
        return self._strip.tiles

    @property
    def top_px(self) -> int:
        return round(LINE_HEIGHT * self.scale)

    @property
    def bottom_px(self) -> int:
        return self._strip.height + self._time_px

    @property
    def _time_px(self) -> int:
        return 0 if self._replay is None else round(TIME_LINE_HEIGHT * self.scale)

    def time_line_at(self, pixel: np.ndarray, width: int) -> tuple[bool, int | None]:
        """Whether a pixel (2,) of the window lies on the time line, and the recording's time there, if it has one."""
        on_it = 0 <= pixel[1] - self._time_top_px < self._time_px
        if self._replay is None or not on_it:
            return False, None
        return True, self.time_under(float(pixel[0]), width)

    def time_under(self, x_px: float, width: int) -> int | None:
        """The recording's time at that column of the time line."""
        return None if self._replay is None else time_at(self._replay, x_px / self.scale, width / self.scale)

    def recolour(self) -> None:
        """Take the theme's colours at the next update."""
        self._drawn_for, self._time_drawn_for = None, ()

    def forget_images(self) -> None:
        """What is shown next is of another time: an absent image is absent."""
        for tile in self.tiles.values():
            tile.image = tile.large = None
        self._images_changed = True

    def take_reports(self, width: int, height: int, shown: Shown) -> None:
        """Bring the tiles' camera states to now, and their sizes to the window's."""
        width = max(width, _NARROWEST)
        if width != self._strip.width or scale_of(width, height) != self.scale:
            self.scale = scale_of(width, height)
            self._strip = Strip(self._rig.cameras, width, self.scale)
        for camera_id, report in shown.reports().items():
            if camera_id in self.tiles:
                self.tiles[camera_id].report = report

    def take_images(self, shown: Shown, pose_set: PoseSet, feed: Feed, now_ns: int, through: int) -> None:
        """Fetch the images of a pose set and draw its hands on them; a larger one of the camera looked through."""
        followed = shown.drawn_hands()
        for camera_id, report in pose_set.cameras.items():
            tile = self.tiles.get(camera_id)
            if tile is None:
                continue
            tile.hands = followed
            if report.slot is None:
                continue
            wanted = _LARGE_WIDTH if tile.number == through else tile.width
            image = feed.image(report.slot, wanted)
            if image is None:
                continue
            tile.show(image, pose_set.hands, now_ns)
            tile.large = self._undistort[camera_id](image) if tile.number == through else None
            self._images_changed = True

    def update(
        self,
        view: Viewpoint,
        toggles: Toggles,
        shown: Shown,
        now_ns: int,
        through: int,
        labels: list[Label],
        saved: Sequence[int],
        distance: Distance | None,
    ) -> None:
        """Bring everything to now and to its place before the eye. `saved` are the numbers of the views kept."""
        stale = shown.is_stale(now_ns)
        measured = distance and distance.names
        state = (view.width, self.scale, shown.paused, stale, through, astuple(toggles), tuple(saved), measured)
        due = now_ns - self._drawn_ns >= _REDRAW_NS or state != self._drawn_for
        if due:
            self._drawn_ns, self._drawn_for = now_ns, state
            self._draw(view, toggles, shown, now_ns, through, saved)
            if distance is not None:
                self._draw_one("distance", distance_card(distance, self.scale))
        strip_shown = toggles.images and not through
        if strip_shown and (due or self._images_changed):
            self._pictures["images"].set_image(self._strip.draw(shown.clock_ns(now_ns)))
            self._images_changed = False
        if self._replay is not None:
            self._draw_time(self._replay, view.width)
        self._place_all(view, toggles, shown, strip_shown, distance is not None)
        self._labels.update(view, labels, self.scale)

    def _draw(
        self, view: Viewpoint, toggles: Toggles, shown: Shown, now_ns: int, through: int, saved: Sequence[int]
    ) -> None:
        scale, hands = self.scale, shown.drawn_hands()
        estimator = shown.newest.estimator if shown.newest else ""
        figures, badges = shown.figures(now_ns), _badges(shown, now_ns, through)
        self._draw_one("line", text_line(view.width / scale, scale, self._title, figures, badges, estimator))
        for camera_id, tile in self.tiles.items():
            tile.figures = shown.camera_rates(camera_id, now_ns)
        if _colours_tell(toggles):
            self._draw_one("std", std_scale(scale))
        if hands and shown.pose_set is not None:
            clock_ns, old = shown.pose_set.reference_time_ns, shown.is_stale(now_ns)
            self._draw_one("hands", hand_card(hands, clock_ns, len(shown.pose_set.views), old, scale))
        if shown.recording is not None:
            self._draw_one("recording", recording_card(shown.recording, scale))
        if toggles.latency:
            self._draw_one("latency", latency_bar(shown.stages_ms(), scale))
        if toggles.help:
            self._draw_one("help", help_card(self._keys, toggles.states(), saved, scale))

    def _draw_time(self, replay: Replay, width: int) -> None:
        times = (replay.position_ns, replay.newest_ns, replay.wanted_ns)
        state = (width, self.scale, *times, replay.playing, replay.loops, replay.speed)
        if state != self._time_drawn_for:
            self._time_drawn_for = state
            self._draw_one("time", time_line(width / self.scale, replay, self.scale))

    def _draw_one(self, name: str, sheet: Sheet) -> None:
        self._pictures[name].set_image(sheet.pixels)

    def _place_all(self, view: Viewpoint, toggles: Toggles, shown: Shown, strip_shown: bool, measured: bool) -> None:
        gap = round(_GAP * self.scale)
        top = self.top_px
        bottom = view.height - (self._strip.height if strip_shown else 0)
        self._place("line", view, 0, 0, True)
        self._place("images", view, 0, bottom, strip_shown)
        bottom -= self._time_px
        self._time_top_px = bottom
        self._place("time", view, 0, bottom, self._replay is not None)
        width, height = self._pictures["std"].size
        self._place("std", view, view.width - width, bottom - height, _colours_tell(toggles))
        down = top + gap
        cards = {"hands": bool(shown.drawn_hands()), "recording": shown.recording is not None, "distance": measured}
        for name, there in cards.items():
            self._place(name, view, gap, down, there)
            down += self._pictures[name].size[1] + gap if there else 0
        width, _ = self._pictures["latency"].size
        self._place("latency", view, view.width - width - gap, top + gap, toggles.latency)
        width, height = self._pictures["help"].size
        middle = (view.width - width) // 2, (view.height - height) // 2
        self._place("help", view, *middle, toggles.help and width > 0, _CARD_DEPTH)

    def _place(self, name: str, view: Viewpoint, left: int, top: int, visible: bool, depth: float = _BAR_DEPTH) -> None:
        picture = self._pictures[name]
        if visible:
            picture.set_corners(view.rectangle(left, top, *picture.size, depth * self._near_m))
        picture.show(visible)


def _colours_tell(toggles: Toggles) -> bool:
    """Whether something is coloured by its standard deviation."""
    return (toggles.mesh and toggles.uncertainty) or toggles.ellipsoids


def _badges(shown: Shown, now_ns: int, through: int) -> list[tuple[str, np.ndarray]]:
    badges = []
    if shown.newest is not None and shown.newest.simulated:
        badges.append(("simulated detections", palette.WARNING))
    if shown.paused:
        badges.append(("paused", palette.SURE))
    elif (wrong := shown.wrong(now_ns)) is not None:
        colours = {"waiting": palette.QUIET, "stale": palette.BAD, "blind": palette.WARNING}
        badges.append((wrong[1], colours[wrong[0]]))
    if through:
        badges.append((f"camera {through}", palette.FRUSTUM))
    return badges
