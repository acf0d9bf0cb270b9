"""The three-dimensional part of the picture: hands, their uncertainty, ground, axes, camera frusta with images."""

from collections.abc import Sequence

import numpy as np
import open3d as o3d

from app.run.settings import MOST_HANDS
from app.transport.messages import HandPose
from app.viewer import palette
from app.viewer.arm_lines import ArmLines
from app.viewer.geometry import Lines, Mesh, Picture, Points
from app.viewer.hand_items import HandItems
from app.viewer.hand_surface import HandSurface
from app.viewer.measure import Distance, Measure
from app.viewer.panels import Tile, Undistorter, greyed
from app.viewer.ruler import Ruler
from app.viewer.skeleton_mesh import tube_triangles, tubes
from app.viewer.stage import frustum, frustum_depth_m, grid, image_corners_m, stage_of
from app.viewer.state import Shown, Toggles
from app.viewer.trail import Trails
from app.viewer.uncertainty import cloud
from app.viewer.view import Viewpoint
from calibration.rig import Rig, RigCamera

_FAR = 40.0
_NEAR = 0.01
_BACKDROP = 25.0


class _CameraItems:
    """One camera's frustum and the image in it."""

    def __init__(self, window: o3d.visualization.Visualizer, scene: "Scene", camera: RigCamera) -> None:
        points, lines = frustum(scene.stage, camera)
        self.camera = camera
        self.label_m = points[5] + 0.025 * scene.stage.scale_m * scene.stage.up
        self.lines = Lines(window, points, lines, palette.FRUSTUM)
        self.picture = Picture(window)
        self.depth_m = frustum_depth_m(scene.stage, camera)
        self.picture.set_corners(image_corners_m(camera, self.depth_m))
        self._undistort = Undistorter(camera.camera)
        self.drawn: tuple[int, bool] | None = None
        self.colour = palette.FRUSTUM.copy()

    def update_image(self, tile: Tile, live: bool) -> None:
        """Put the tile's image into the frustum, without lens distortion; grey where it is not live."""
        if tile.image is None or self.drawn == (tile.arrived_ns, live):
            return
        self.drawn = (tile.arrived_ns, live)
        image = self.undistorted(tile)
        if image is not None:
            self.picture.set_image(image if live else greyed(image))

    def undistorted(self, tile: Tile) -> np.ndarray | None:
        """The tile's image without lens distortion; None where it has none."""
        return None if tile.image is None else self._undistort(tile.image)

    def update_state(self, live: bool, colour: np.ndarray) -> None:
        """Colour the frustum by the camera's state; quietly while all is well."""
        colour = palette.FRUSTUM if live else colour
        if not np.array_equal(colour, self.colour):
            self.colour = colour.copy()
            self.lines.set_colours(colour * 0.85)


class Scene:
    """All that lies in the world. Built once for a rig; `update` brings it up to date."""

    def __init__(self, window: o3d.visualization.Visualizer, rig: Rig) -> None:
        self._window = window
        self.stage = stage_of(rig)
        self.hands_centre_m: np.ndarray | None = None
        self._set_extent()
        points, lines, colours, _ = grid(self.stage)
        self._grid = Lines(window, points, lines, colours)
        self._axes = self._make_axes()
        self.cameras = [_CameraItems(window, self, camera) for camera in rig.cameras]
        self._backdrop = Picture(window)
        self._backdrop_drawn: tuple | None = None
        self._surface = HandSurface()
        self._hands: list[HandItems] = []
        self._poses: list[HandPose] = []
        self._arms = ArmLines(window)
        self._trails = Trails(window)
        self._ruler = Ruler(window, self.stage.scale_m)
        self._cloud = Points(window)
        self._has_cloud = self._cloud_is_new = False

    def _set_extent(self) -> None:
        """Open3D's limits of zoom come from a box around what was added; the box outlives its corners."""
        reach = self.stage.scale_m * np.array([[-1, -1, -1], [1, 1, 1]])
        corners = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(self.stage.centre_m + reach))
        self._window.add_geometry(corners, reset_bounding_box=True)
        self._window.remove_geometry(corners, reset_bounding_box=False)

    def fit_limits(self, control: o3d.visualization.ViewControl) -> None:
        """Set how near and far the window draws, for this rig's size."""
        control.set_constant_z_near(self.near_m)
        control.set_constant_z_far(_FAR * self.stage.scale_m)

    @property
    def near_m(self) -> float:
        return _NEAR * self.stage.scale_m

    def _make_axes(self) -> Mesh:
        length_m, radius_m = 0.11 * self.stage.scale_m, 0.0028 * self.stage.scale_m
        radii = np.full(3, radius_m)
        vertices, normals = tubes(np.zeros((3, 3)), np.eye(3) * length_m, radii, radii * 0.6)
        axes = Mesh(self._window, tube_triangles(3), vertices.size // 3)
        colours = np.repeat(palette.AXES, vertices.shape[1] * vertices.shape[2], axis=0)
        axes.set(vertices.reshape(-1, 3), colours * (0.8 + 0.2 * normals.reshape(-1, 3)[:, 2:]))
        return axes

    @property
    def poses(self) -> list[HandPose]:
        """The hands that are drawn."""
        return self._poses

    def recolour(self) -> None:
        """Take the theme's colours."""
        self._grid.set_colours(grid(self.stage)[2])
        for items in self._hands:
            items.recolour()
        self.set_hands(self._poses)

    def pass_by(self, poses: list[HandPose]) -> None:
        """The hands of a set, for their trails, whether or not it is the one that is then drawn."""
        self._trails.add(poses[:MOST_HANDS])

    def restart_trails(self, past: Sequence[Sequence[HandPose]]) -> None:
        """The hands of these sets, the newest last, and of none before."""
        self._trails.restart([poses[:MOST_HANDS] for poses in past])

    def set_hands(self, poses: list[HandPose]) -> None:
        """New hands; replaces all that were there."""
        self._poses = poses[:MOST_HANDS]
        self._trails.renew()
        while len(self._hands) < len(self._poses):
            self._hands.append(HandItems(self._window, self.stage, self._surface))
        for number, items in enumerate(self._hands):
            items.set(self._poses[number] if number < len(self._poses) else None)
        self._arms.set(self._poses)
        self._cloud_is_new = False
        seen = [np.array(pose.joints_world_m) for pose in self._poses if pose.state == "seen"]
        joints_m = np.concatenate(seen) if seen else np.empty((0, 3))
        joints_m = joints_m[np.isfinite(joints_m).all(axis=1)]
        if len(joints_m):
            self.hands_centre_m = joints_m.mean(axis=0)

    def _update_cloud(self, wanted: bool) -> None:
        """Show the clouds of the hands that were seen; they are made only while they are wanted."""
        if wanted and not self._cloud_is_new:
            self._cloud_is_new = True
            seen = [pose for pose in self._poses if pose.state == "seen"]
            clouds = [
                cloud(np.array(pose.joints_world_m), np.array(pose.covariance_m2), np.array(pose.confidence))
                for pose in seen
            ]
            points_m = np.concatenate([np.empty((0, 3)), *(points for points, _ in clouds)])
            self._has_cloud = len(points_m) > 0
            if self._has_cloud:
                self._cloud.set(points_m, np.concatenate([colours for _, colours in clouds]))
        self._cloud.show(wanted and self._has_cloud)

    def labels(
        self, toggles: Toggles, shown: Shown, now_ns: int, distance: Distance | None
    ) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Text, place (3,) in world metres, colour: cameras' numbers, hands' sides, a measured distance."""
        found = []
        if distance is not None:
            found.append((distance.text, distance.ends_m.mean(axis=0), palette.WARNING))
        if toggles.frusta:
            for number, items in enumerate(self.cameras, start=1):
                found.append((str(number), items.label_m, items.colour))
        if (toggles.mesh or toggles.skeleton) and not shown.is_gone(now_ns):
            for pose in self._poses:
                joints_m = np.array(pose.joints_world_m)
                # Beyond the wrist and the mesh's end, away from the fingers.
                place_m = joints_m[0] - 0.9 * (joints_m[9] - joints_m[0])
                if np.isfinite(place_m).all():
                    seen = pose.state == "seen"
                    colour = palette.HANDS[pose.hand] if seen and not shown.is_stale(now_ns) else palette.STALE
                    found.append((pose.hand[0].upper() + ("" if seen else f" {pose.state}"), place_m, colour))
        return found

    def update(
        self,
        view: Viewpoint,
        toggles: Toggles,
        shown: Shown,
        now_ns: int,
        through: int,
        tiles: dict[str, Tile],
        measure: Measure,
    ) -> None:
        """Bring everything to now. `through` is the number of the camera looked through, 0 for the free view."""
        stale, gone = shown.is_stale(now_ns), shown.is_gone(now_ns)
        for items in self._hands:
            items.update(view, toggles, stale, gone, with_shadow=not through)
        self._update_cloud(toggles.cloud and not stale)
        self._arms.show((toggles.mesh or toggles.skeleton) and not stale)
        self._trails.show(toggles.trail and not stale)
        self._ruler.update(view, np.zeros((0, 3)) if gone else measure.places_m(self._poses))
        clock_ns = shown.clock_ns(now_ns)
        behind = self._update_backdrop(tiles, clock_ns, through if toggles.images else 0)
        self._grid.show(not behind)
        self._axes.show(not behind)
        for number, items in enumerate(self.cameras, start=1):
            tile = tiles[items.camera.camera_id]
            live = tile.is_live(clock_ns)
            items.update_state(live, tile.colour(clock_ns))
            if toggles.images:
                items.update_image(tile, live)
            shows = toggles.frusta and number != through
            items.lines.show(shows)
            items.picture.show(shows and toggles.images and not behind and tile.image is not None)

    def _update_backdrop(self, tiles: dict[str, Tile], clock_ns: int, through: int) -> bool:
        """Show the image of the camera looked through behind everything; says whether there is one."""
        if not through:
            self._backdrop.show(False)
            return False
        items = self.cameras[through - 1]
        tile = tiles[items.camera.camera_id]
        image = tile.large if tile.large is not None else items.undistorted(tile)
        if image is None:
            self._backdrop.show(False)
            return False
        drawn = (through, tile.arrived_ns, tile.is_live(clock_ns), image.shape)
        if drawn != self._backdrop_drawn:
            self._backdrop_drawn = drawn
            self._backdrop.set_corners(image_corners_m(items.camera, _BACKDROP * self.stage.scale_m))
            self._backdrop.set_image(image if tile.is_live(clock_ns) else greyed(image))
        self._backdrop.show(True)
        return True
