"""What the browser shows: hands, trails, uncertainty, cameras with their pictures, ground, and the figures beside."""

from collections import deque

import cv2
import numpy as np
import viser
import viser.transforms

from app.run.settings import MOST_HANDS
from app.transport.messages import HandPose
from app.viewer import palette
from app.viewer.feed import Feed
from app.viewer.hand_surface import HandSurface
from app.viewer.panels import Undistorter, greyed
from app.viewer.skeleton import BONES, joint_colours
from app.viewer.stage import frustum, frustum_depth_m, grid, image_corners_m, stage_of
from app.viewer.state import Shown
from app.viewer.uncertainty import cloud
from app.viewer.view import home_view
from app.web.figures import figures_html
from calibration.rig import Rig, RigCamera

_TRAIL_SETS = 12
_TRAIL_JOINTS = (4, 8, 12, 16, 20)
_PICTURE_WIDTH = 320
_PICTURE_NS = 100_000_000
_FIGURES_NS = 250_000_000
_JPEG = 70
_GLASS = 0.6
_NEARER = 0.75


class _WebHand:
    """One hand's things in the scene, and where its fingertips were."""

    def __init__(self, server: viser.ViserServer, number: int, surface: HandSurface) -> None:
        scene, self._surface = server.scene, surface
        none, white = np.zeros((1, 2, 3), np.float32), np.zeros((1, 2, 3), np.uint8)
        name = f"/hand_{number}"
        self.bones = scene.add_line_segments(f"{name}/bones", none, white, thickness=0.004, visible=False)
        self.joints = scene.add_point_cloud(
            f"{name}/joints", none[0], white[0], point_size=0.005, point_shape="circle", precision="float32",
            visible=False,
        )  # fmt: skip
        self.mesh = scene.add_mesh_simple(
            f"{name}/mesh", np.zeros((surface.count, 3), np.float32), surface.triangles, side="double", visible=False
        )
        self.trail = scene.add_line_segments(f"{name}/trail", none, white, thickness=0.003, visible=False)
        self.cloud = scene.add_point_cloud(
            f"{name}/uncertainty", none[0], white[0], point_size=0.0012, point_shape="circle", precision="float32",
            visible=False,
        )  # fmt: skip
        self._track: tuple[str, int] | None = None
        self._tips_m: deque[np.ndarray] = deque(maxlen=_TRAIL_SETS)

    def hide(self) -> None:
        self._track = None
        self._tips_m.clear()
        for item in (self.bones, self.joints, self.mesh, self.trail, self.cloud):
            _show(item, False)

    def set(self, pose: HandPose, on: "Switches", true: bool) -> None:
        """A new pose, in the hand's colour, or grey where it is not `true`: expected, not seen, or old."""
        joints_m = np.array(pose.joints_world_m, np.float32)
        if not np.isfinite(joints_m).all():
            self.hide()
            return
        true = true and pose.state == "seen"
        self._remember(pose, joints_m)
        vertices_m = self._surface.vertices_of(pose) if on.mesh.value else None
        if vertices_m is not None:
            self.mesh.vertices = vertices_m.astype(np.float32)
            self.mesh.color = _rgb(palette.HANDS[pose.hand] if true else palette.STALE)
            self.mesh.opacity = _GLASS if on.skeleton.value else None
        with_bones = on.skeleton.value or (on.mesh.value and vertices_m is None)
        if with_bones:
            colours = _rgb8(joint_colours(pose.hand) if true else np.tile(palette.STALE, (21, 1)))
            self.bones.points, self.bones.colors = joints_m[BONES], colours[np.repeat(BONES[:, 1:], 2, axis=1)]
            self.joints.points, self.joints.colors = joints_m, colours
        with_trail = bool(on.trail.value) and len(self._tips_m) > 1
        if with_trail:
            self._set_trail(pose.hand)
        with_cloud = bool(on.uncertainty.value) and true
        if with_cloud:
            points, colours = cloud(joints_m, np.array(pose.covariance_m2), np.array(pose.confidence))
            with_cloud = len(points) > 0
            if with_cloud:
                self.cloud.points, self.cloud.colors = points.astype(np.float32), _rgb8(colours)
        _show(self.mesh, vertices_m is not None)
        _show(self.bones, with_bones)
        _show(self.joints, with_bones)
        _show(self.trail, with_trail)
        _show(self.cloud, with_cloud)

    def _remember(self, pose: HandPose, joints_m: np.ndarray) -> None:
        if self._track != (pose.hand, pose.track_id):
            self._track = (pose.hand, pose.track_id)
            self._tips_m.clear()
        self._tips_m.append(joints_m[list(_TRAIL_JOINTS)])

    def _set_trail(self, side: str) -> None:
        """Where the fingertips were, fading into the background."""
        tips_m = np.array(self._tips_m)
        segments = np.stack([tips_m[:-1], tips_m[1:]], axis=2).reshape(-1, 2, 3)
        strength = np.repeat(np.linspace(0, 1, len(tips_m))[1:], len(_TRAIL_JOINTS))[:, None, None]
        colour = palette.BACKGROUND + (palette.HANDS[side] - palette.BACKGROUND) * strength
        self.trail.points, self.trail.colors = segments, _rgb8(np.repeat(colour, 2, axis=1))


class _WebCamera:
    """A camera's frustum, and its newest picture in it."""

    def __init__(self, server: viser.ViserServer, rig: Rig, camera: RigCamera) -> None:
        stage = stage_of(rig)
        points_m, lines = frustum(stage, camera)
        name = f"/cameras/{camera.camera_id}"
        self.lines = server.scene.add_line_segments(
            f"{name}/frustum", points_m[lines].astype(np.float32), _rgb(palette.FRUSTUM), thickness=1.5,
            thickness_units="screen",
        )  # fmt: skip
        corners_m = image_corners_m(camera, frustum_depth_m(stage, camera))
        width, height = camera.camera.width, camera.camera.height
        size = (_PICTURE_WIDTH, max(1, round(height * _PICTURE_WIDTH / width)))
        self.picture = server.scene.add_image(
            f"{name}/picture",
            np.zeros((size[1], size[0], 3), np.uint8),
            float(np.linalg.norm(corners_m[1] - corners_m[0])),
            float(np.linalg.norm(corners_m[3] - corners_m[0])),
            format="jpeg",
            jpeg_quality=_JPEG,
            cast_shadow=False,
            receive_shadow=False,
            wxyz=viser.transforms.SO3.from_matrix(camera.T_cam_world[:3, :3].T).wxyz,
            position=corners_m.mean(axis=0),
            visible=False,
        )
        self.label = server.scene.add_label(f"{name}/label", camera.camera_id, position=points_m[5])
        self._undistort = Undistorter(camera.camera)
        self._image: np.ndarray | None = None
        self._live = False

    def update(self, image: np.ndarray | None, live: bool) -> None:
        """A new image, if there is one; the last one turns grey where the camera is not `live` any more."""
        if image is not None:
            self._image = self._undistort(image)
        elif live or not self._live:
            return
        if self._image is not None:
            self._live = live
            self.picture.image = cv2.cvtColor(self._image if live else greyed(self._image), cv2.COLOR_BGR2RGB)
            _show(self.picture, True)


class Switches:
    """What the page switches on and off, for everybody who looks."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self.mesh = gui.add_checkbox("hand mesh", True)
        self.skeleton = gui.add_checkbox("skeleton", True)
        self.trail = gui.add_checkbox("trail of the fingertips", True)
        self.uncertainty = gui.add_checkbox("cloud of uncertainty", False)
        self.cameras = gui.add_checkbox("cameras", True)
        self.pictures = gui.add_checkbox("pictures", True)


class WebScene:
    """Keeps a server's page up to date; works only while somebody looks."""

    def __init__(self, server: viser.ViserServer, rig: Rig, title: str, feed: Feed) -> None:
        self._server, self._rig, self._title, self._feed = server, rig, title, feed
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        server.gui.main_panel.dock_right()
        self._figures = server.gui.add_html("")
        self.on = Switches(server.gui)
        stage = stage_of(rig)
        server.scene.set_up_direction(stage.up)
        server.scene.set_background_image(np.tile(_rgb8(palette.BACKGROUND), (2, 2, 1)), format="png")
        view = home_view(stage, rig.cameras, stage.centre_m, 1280, 720, 0, 0)
        server.initial_camera.position = stage.centre_m + _NEARER * (view.eye_world_m - stage.centre_m)
        server.initial_camera.look_at = stage.centre_m
        points_m, lines, colours, _ = grid(stage)
        server.scene.add_line_segments(
            "/ground", points_m[lines].astype(np.float32), _rgb8(np.repeat(colours[:, None], 2, axis=1)), thickness=1.0,
            thickness_units="screen",
        )  # fmt: skip
        surface = HandSurface()
        self._hands = [_WebHand(server, number, surface) for number in range(MOST_HANDS)]
        self._cameras = {camera.camera_id: _WebCamera(server, rig, camera) for camera in rig.cameras}
        self._pictures_ns = self._figures_ns = -(10**18)
        self._drawn_for: tuple[bool, bool] | None = None

    @property
    def watched(self) -> bool:
        return bool(self._server.get_clients())

    def update(self, shown: Shown, now_ns: int) -> None:
        """Bring the page to now. Nothing is done while nobody looks, but for what they would see first."""
        if not self.watched:
            return
        pose_set = shown.fresh()
        with self._server.atomic():
            self._update_hands(shown, now_ns, pose_set is not None)
            for camera in self._cameras.values():
                _show(camera.lines, self.on.cameras.value)
                _show(camera.label, self.on.cameras.value)
                if not (self.on.cameras.value and self.on.pictures.value):
                    _show(camera.picture, False)
            if now_ns - self._figures_ns >= _FIGURES_NS:
                self._figures_ns = now_ns
                text = figures_html(self._title, shown, now_ns)
                if text != self._figures.content:
                    self._figures.content = text
        if now_ns - self._pictures_ns >= _PICTURE_NS:
            self._pictures_ns = now_ns
            self._update_pictures(shown)

    def _update_hands(self, shown: Shown, now_ns: int, new: bool) -> None:
        stale, gone = shown.is_stale(now_ns), shown.is_gone(now_ns)
        if not new and (stale, gone) == self._drawn_for:
            return
        self._drawn_for = (stale, gone)
        hands = [] if gone else shown.drawn_hands()
        for number, items in enumerate(self._hands):
            if number < len(hands):
                items.set(hands[number], self.on, not stale)
            else:
                items.hide()

    def _update_pictures(self, shown: Shown) -> None:
        if not (self.on.cameras.value and self.on.pictures.value):
            return
        for camera_id, report in shown.reports().items():
            camera = self._cameras.get(camera_id)
            if camera is not None:
                image = None if report.slot is None else self._feed.image(report.slot, _PICTURE_WIDTH)
                camera.update(image, report.state == "streaming")


def _show(item: viser.SceneNodeHandle, visible: bool) -> None:
    if item.visible != visible:
        item.visible = visible


def _rgb8(colours: np.ndarray) -> np.ndarray:
    return np.round(colours * 255).astype(np.uint8)


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = _rgb8(colour).tolist()
    return red, green, blue
