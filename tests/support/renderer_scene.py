"""Hands, things and cameras for the tests of the renderer."""

from dataclasses import replace

import numpy as np

from calibration.camera import Camera, LensModel
from calibration.hand import Side
from calibration.rig import RigCamera
from models.hand.skeleton import REST_ANGLES_RAD
from models.simulation.arm import arm_model, bend_wrist
from models.simulation.scene import PosedHand, SceneState, SceneView, Sensor
from models.simulation.simulated_rig import look_at
from models.simulation.skin import Skin, hand_surface

DISTORTION: dict[LensModel, list[float]] = {
    "pinhole5": [-0.25, 0.1, 1e-3, -1e-3, -0.02],
    "pinhole8": [0.3, -0.1, 5e-4, 5e-4, 0.01, 0.5, -0.05, 0.01],
    "fisheye4": [-0.02, 0.005, -0.002, 5e-4],
}
PLAIN = Sensor(blur_px=0.0, noise=0.0, jpeg_quality=None)


def camera(
    eye_m, target_m=(0.08, 0.0, 0.0), lens: LensModel = "pinhole5", distorted: bool = True, focal_px: float = 560.0
) -> RigCamera:
    matrix = np.array([[focal_px, 0, 322.0], [0, focal_px + 2, 236.0], [0, 0, 1]])
    distortion = np.array(DISTORTION[lens]) * distorted
    eye, target = np.array(eye_m, dtype=float), np.array(target_m, dtype=float)
    return RigCamera(
        camera_id="cam_0",
        camera=Camera(width=640, height=480, lens=lens, matrix=matrix, distortion=distortion),
        T_cam_world=look_at(eye, target),
    )


def hand(
    side: Side = "right", moved_m=(0.0, 0.0, 0.0), skin: Skin | None = None, angles_rad=REST_ANGLES_RAD
) -> PosedHand:
    """A hand with its palm at the world's origin, fingers along x, that moves by `moved_m` during the exposure."""
    model = arm_model(side)
    joints_m, vertices_m = model.pose(angles_rad, np.eye(4), model.default_shape())
    vertices_m = bend_wrist(vertices_m, model, np.eye(4), 0.3, 0.1)
    half = np.array(moved_m) / 2
    return PosedHand(
        side=side,
        vertices_start_m=vertices_m - half,
        vertices_end_m=vertices_m + half,
        joints_m=joints_m,
        surface=hand_surface(model.mesh, model.faces, skin or Skin()),
    )


def state(*hands: PosedHand, sensor: Sensor = PLAIN, background: np.ndarray | None = None, **more) -> SceneState:
    return SceneState(hands=hands or (hand(),), views={"cam_0": SceneView(background, sensor)}, **more)


def shifted(posed: PosedHand, by_m: np.ndarray) -> PosedHand:
    """The same hand, still, elsewhere."""
    middle = (posed.vertices_start_m + posed.vertices_end_m) / 2 + by_m
    return replace(posed, vertices_start_m=middle, vertices_end_m=middle, joints_m=posed.joints_m + by_m)
