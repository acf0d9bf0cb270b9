"""What lies flat on the window: the text line, the strip of images, the list of keys, labels in the scene.

Open3D's legacy window draws no text, and no images beside meshes. These are textured rectangles just beyond the near
plane, moved with the eye so that one texture pixel is one window pixel.
"""

from dataclasses import astuple

import numpy as np
import open3d as o3d

from app.transport.messages import PoseSet
from app.viewer import palette
from app.viewer.feed import Feed
from app.viewer.geometry import Mesh, Picture
from app.viewer.hud import LINE_HEIGHT, help_card, std_scale, text_line
from app.viewer.labels import text_quads
from app.viewer.panels import Strip, Tile, Undistorter
from app.viewer.state import Shown, Toggles
from app.viewer.view import Viewpoint
from calibration.rig import Rig

_REDRAW_NS = 200_000_000
_LARGE_WIDTH = 1280
_LABEL_PX = 18
# Depths in units of the near plane: what is nearer covers what is farther.
_CARD_DEPTH, _BAR_DEPTH, _LABEL_DEPTH = 1.1, 1.2, 1.4

Label = tuple[str, np.ndarray, np.ndarray]
"""Text, place (3,) in world metres, colour."""


class Overlay:
    """Everything with a fixed place in the window. Redrawn when it changes and five times a second."""

    def __init__(
        self, window: o3d.visualization.Visualizer, rig: Rig, title: str, width: int, near_m: float, fine: int
    ) -> None:
        self._window, self._rig, self._title, self._near_m = window, rig, title, near_m
        self._strip = Strip(rig.cameras, width)
        self._line, self._images, self._card, self._scale = (Picture(window, fine) for _ in range(4))
        self._scale.set_image(std_scale())
        self._labels: Mesh | None = None
        self._label_quads: list[np.ndarray] = []
        self._labels_for: list[tuple[str, bytes]] = []
        self._undistort = {camera.camera_id: Undistorter(camera.camera) for camera in rig.cameras}
        self._drawn_ns = -_REDRAW_NS
        self._drawn_for: tuple | None = None
        self._images_changed = True

    @property
    def tiles(self) -> dict[str, Tile]:
        return self._strip.tiles

    @property
    def top_px(self) -> int:
        return LINE_HEIGHT

    @property
    def bottom_px(self) -> int:
        return self._strip.height

    def take_reports(self, width: int, shown: Shown) -> None:
        """Bring the tiles' camera states to now, and their sizes to the window's width."""
        if width != self._strip.width:
            self._strip = Strip(self._rig.cameras, width)
        for camera_id, report in shown.reports().items():
            if camera_id in self.tiles:
                self.tiles[camera_id].report = report

    def take_images(self, pose_set: PoseSet, feed: Feed, now_ns: int, through: int) -> None:
        """Fetch the images of a pose set and draw its hands on them; a larger one of the camera looked through."""
        for camera_id, report in pose_set.cameras.items():
            tile = self.tiles.get(camera_id)
            if tile is None or report.slot is None:
                continue
            wanted = _LARGE_WIDTH if tile.number == through else tile.width
            image = feed.image(report.slot, wanted)
            if image is None:
                continue
            tile.show(image, pose_set.hands, now_ns)
            tile.large = self._undistort[camera_id](image) if tile.number == through else None
            self._images_changed = True

    def update(
        self, view: Viewpoint, toggles: Toggles, shown: Shown, now_ns: int, through: int, labels: list[Label]
    ) -> None:
        """Bring everything to now and to its place before the eye."""
        state = (view.width, shown.paused, shown.is_stale(now_ns), through, astuple(toggles))
        due = now_ns - self._drawn_ns >= _REDRAW_NS or state != self._drawn_for
        if due:
            self._drawn_ns, self._drawn_for = now_ns, state
            figures, badges = shown.figures(now_ns), _badges(shown, now_ns, through)
            estimator = shown.newest.estimator if shown.newest else ""
            self._line.set_image(text_line(view.width, self._title, figures, badges, estimator))
            if toggles.help:
                self._card.set_image(help_card(toggles.by_key()))
        strip_shown = toggles.images and not through
        if strip_shown and (due or self._images_changed):
            self._images.set_image(self._strip.draw(shown.clock_ns(now_ns)))
            self._images_changed = False
        self._place(self._line, view, 0, 0, _BAR_DEPTH, True)
        self._place(self._images, view, 0, view.height - self._strip.height, _BAR_DEPTH, strip_shown)
        width, height = self._scale.size
        bottom = view.height - (self._strip.height if strip_shown else 0)
        coloured = toggles.mesh and toggles.uncertainty
        self._place(self._scale, view, view.width - width, bottom - height, _BAR_DEPTH, coloured)
        width, height = self._card.size
        top = (view.height - height) // 2
        self._place(self._card, view, (view.width - width) // 2, top, _CARD_DEPTH, toggles.help and width > 0)
        self._place_labels(view, labels)

    def _place(self, picture: Picture, view: Viewpoint, left: int, top: int, depth: float, visible: bool) -> None:
        if visible:
            picture.set_corners(view.rectangle(left, top, *picture.size, depth * self._near_m))
        picture.show(visible)

    def _place_labels(self, view: Viewpoint, labels: list[Label]) -> None:
        wanted = [(text, colour.tobytes()) for text, _, colour in labels]
        if wanted != self._labels_for:
            self._make_labels(labels)
            self._labels_for = wanted
        if self._labels is None:
            return
        depth_m = _LABEL_DEPTH * self._near_m
        corners = []
        for quads, (_, place_m, _) in zip(self._label_quads, labels, strict=True):
            pixel = view.project(place_m)
            # What is behind the eye goes out of the picture.
            pixel = np.round(np.nan_to_num(np.clip(pixel, -1e4, 1e4), nan=-1e4))
            corners.append(view.at_depth(quads + pixel, depth_m).reshape(-1, 3))
        self._labels.set(np.concatenate(corners))

    def _make_labels(self, labels: list[Label]) -> None:
        if self._labels is not None:
            self._labels.show(False)
            self._labels = None
        if not labels:
            return
        self._label_quads = [text_quads(text, _LABEL_PX) for text, _, _ in labels]
        counts = [len(quads) for quads in self._label_quads]
        first = np.arange(sum(counts))[:, None, None] * 4
        triangles = (first + np.array([[0, 2, 1], [0, 3, 2]])).reshape(-1, 3).astype(np.int32)
        self._labels = Mesh(self._window, triangles, 4 * sum(counts))
        colours = np.repeat([colour for _, _, colour in labels], 4 * np.array(counts), axis=0)
        self._labels.set(np.zeros((4 * sum(counts), 3)), colours)
        self._labels.show(True)


def _badges(shown: Shown, now_ns: int, through: int) -> list[tuple[str, np.ndarray]]:
    badges = []
    age_ns = shown.age_ns(now_ns)
    if shown.newest is not None and shown.newest.simulated:
        badges.append(("simulated detections", palette.WARNING))
    if shown.paused:
        badges.append(("paused", palette.SURE))
    elif age_ns is None:
        badges.append(("waiting for the first pose", palette.QUIET))
    elif shown.is_stale(now_ns):
        badges.append((f"no pose for {age_ns / 1e9:.1f} s", palette.BAD))
    elif shown.pose_set is not None and not shown.pose_set.looked:
        badges.append(("nobody looks: fewer than two views", palette.WARNING))
    if through:
        badges.append((f"camera {through}", palette.FRUSTUM))
    return badges
