"""Where the eye is: the window's view, moved by keys, mouse, the hands that it follows and the views that are kept."""

import numpy as np
import open3d as o3d

from app.viewer.follow import Follow
from app.viewer.orbit import moved, rolled, shifted, turned, zoomed
from app.viewer.saved_views import SavedViews
from app.viewer.stage import Stage
from app.viewer.view import Viewpoint, camera_view, home_view
from calibration.rig import Rig

_NEAREST, _FARTHEST = 0.05, 20.0


class Eye:
    """The one owner of the window's view. `camera_number` is that of the camera looked through, 0 for the free view."""

    def __init__(self, control: o3d.visualization.ViewControl, rig: Rig, stage: Stage, views: SavedViews, fine: int):
        self._control, self._rig, self._stage, self._fine = control, rig, stage, fine
        self.views = views
        self.camera_number = 0
        self._follow = Follow()

    @property
    def view(self) -> Viewpoint:
        """In pixels of the picture that `ViewerWindow.capture` gives."""
        parameters = self._control.convert_to_pinhole_camera_parameters()
        intrinsic, fine = parameters.intrinsic, self._fine
        focal_px = float(intrinsic.intrinsic_matrix[1, 1]) / fine
        return Viewpoint(np.array(parameters.extrinsic), focal_px, intrinsic.width // fine, intrinsic.height // fine)

    def go_home(self, target_m: np.ndarray | None, bottom_px: int, top_px: int) -> None:
        """The first view, on the target (3,) or, without one, on where the cameras look."""
        size, target_m = self.view, self._stage.centre_m if target_m is None else target_m
        cameras = self._rig.cameras
        self._go_to(home_view(self._stage, cameras, target_m, size.width, size.height, bottom_px, top_px))

    def look_through(self, number: int) -> None:
        """Through camera `number`, from 1; nothing where there is none."""
        if 1 <= number <= len(self._rig.cameras):
            size = self.view
            self._go_to(camera_view(self._rig.cameras[number - 1], size.width, size.height))
            self.camera_number = number

    def go_to_place(self, number: int) -> None:
        """The view that is kept under a number, else through that camera."""
        size = self.view
        saved = self.views.get(number, size.width, size.height)
        if saved is None:
            self.look_through(number)
        else:
            self._go_to(saved)

    def save(self, number: int) -> None:
        self.views.save(number, self.view)

    def turn(self, across_px: float, down_px: float, pivot_m: np.ndarray | None) -> None:
        self._go_to(turned(self.view, across_px, down_px, self._pivot(pivot_m), self._stage.up))

    def move(self, across_px: float, down_px: float, pivot_m: np.ndarray | None) -> None:
        self._go_to(moved(self.view, across_px, down_px, self._pivot(pivot_m)))

    def roll(self, across_px: float) -> None:
        self._go_to(rolled(self.view, across_px))

    def zoom(self, steps: float, pivot_m: np.ndarray | None) -> None:
        nearest_m, farthest_m = _NEAREST * self._stage.scale_m, _FARTHEST * self._stage.scale_m
        self._go_to(zoomed(self.view, steps, self._pivot(pivot_m), nearest_m, farthest_m))

    def go_along(self, follows: bool, centre_m: np.ndarray | None, now_ns: int) -> None:
        """Keep the hands' centre (3,) where it is in the picture; through a camera the eye stays where it is."""
        if not follows or self.camera_number:
            self._follow.leave()
            return
        shift_m = self._follow.step(centre_m, now_ns)
        if np.linalg.norm(shift_m) > 1e-6:
            self._go_to(shifted(self.view, shift_m))

    def _pivot(self, pivot_m: np.ndarray | None) -> np.ndarray:
        return self._stage.centre_m if pivot_m is None else pivot_m

    def _go_to(self, view: Viewpoint) -> None:
        self.camera_number = 0
        parameters = o3d.camera.PinholeCameraParameters()
        parameters.extrinsic = view.T_view_world
        width, height, focal_px = view.width * self._fine, view.height * self._fine, view.focal_px * self._fine
        parameters.intrinsic.set_intrinsics(width, height, focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5)
        self._control.convert_from_pinhole_camera_parameters(parameters, True)
