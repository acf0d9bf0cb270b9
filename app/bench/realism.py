"""An outside judge of the renderer: how often a hand detector that has only ever seen photographs finds our hands."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.camera import Camera
from calibration.rig import RigCamera
from calibration.rotations import make_transform
from models.hand.skeleton import REST_ANGLES_RAD
from models.simulation.arm import arm_model, bend_wrist
from models.simulation.backgrounds import random_background
from models.simulation.looks import random_lighting, random_sensor
from models.simulation.person import random_person
from models.simulation.renderer import render
from models.simulation.scene import PosedHand, SceneState, SceneView
from models.simulation.simulated_rig import look_at
from models.simulation.skin import hand_surface

Detect = Callable[[np.ndarray], Sequence[np.ndarray]]
"""From an image (H, W, 3) uint8 BGR to the keypoints (21, 2) in pixels of every hand found."""

_WIDEST_RAD = np.deg2rad(60)
_BEND_RAD = np.deg2rad(7)
_FOUND = 0.25


@dataclass(frozen=True, kw_only=True)
class DetectionRate:
    """The share of images in which the hand was found, of all and by the side of it that was seen; how far off the
    found joints were (median), in units of the hand's size in the image; and how many images there were."""

    found: float
    palm_found: float
    back_found: float
    error: float
    images: int


def detection_rate(detect: Detect, images: int = 100, seed: int = 0) -> DetectionRate:
    """A hand is found where a detection's joints are, on average, less than a quarter of its size off the truth."""
    errors, palms = [], []
    for camera, state, palm in open_hands(images, seed):
        rendering = render(camera, state)
        truth_px = rendering.hands[0].keypoints_px
        size_px = np.linalg.norm(np.ptp(truth_px, axis=0))
        off = [np.linalg.norm(found - truth_px, axis=1).mean() / size_px for found in detect(rendering.image)]
        errors.append(min(off, default=np.inf))
        palms.append(palm)
    error, palm = np.array(errors), np.array(palms)
    found = error < _FOUND
    return DetectionRate(
        found=float(found.mean()),
        palm_found=float(found[palm].mean()) if palm.any() else float("nan"),
        back_found=float(found[~palm].mean()) if (~palm).any() else float("nan"),
        error=float(np.median(error[found])) if found.any() else float("nan"),
        images=images,
    )


def open_hands(count: int, seed: int) -> Iterator[tuple[RigCamera, SceneState, bool]]:
    """Still, open hands of random people, 640x480, each with the camera that sees it; whether from its palm's side.

    The camera is up to 60 degrees off the palm's or the back's middle and turned about its axis; light, background and
    sensor are as random as everywhere.
    """
    for index in range(count):
        random = np.random.default_rng([seed, 61, index])
        side = "left" if random.random() < 0.5 else "right"
        palm = bool(random.random() < 0.5)
        person = random_person(random)
        model = arm_model(side)
        angles = np.clip(REST_ANGLES_RAD + random.normal(0, _BEND_RAD, len(REST_ANGLES_RAD)), *model.limits_rad.T)
        T_world_hand = make_transform(Rotation.from_quat(random.normal(size=4)).as_matrix(), np.zeros(3))
        joints_m, vertices_m = model.pose(angles, T_world_hand, person.shape)
        vertices_m = bend_wrist(vertices_m, model, T_world_hand, *random.normal(0, [0.3, 0.12]))
        surface = hand_surface(model.mesh, model.faces, person.skin)
        hand = PosedHand(
            side=side,
            vertices_start_m=vertices_m,
            vertices_end_m=vertices_m,
            joints_m=joints_m,
            surface=surface,
            thickness=float(person.shape[20]),
        )
        camera = _camera(random, joints_m.mean(axis=0), T_world_hand[:3, :3], palm)
        view = SceneView(random_background(random), random_sensor(random))
        lighting = random_lighting(random)
        yield (
            camera,
            SceneState(hands=(hand,), lighting=lighting, views={camera.camera_id: view}, noise_seed=index),
            palm,
        )


def _camera(random: np.random.Generator, middle_m: np.ndarray, R_world_hand: np.ndarray, palm: bool) -> RigCamera:
    tilt, around = _WIDEST_RAD * np.sqrt(random.random()), random.uniform(0, 2 * np.pi)
    out = np.array([np.sin(tilt) * np.cos(around), np.sin(tilt) * np.sin(around), np.cos(tilt)])
    out[2] *= -1 if palm else 1
    distance_m = random.uniform(0.45, 0.8)
    focal_px = random.uniform(500, 650)
    matrix = np.array([[focal_px, 0, 319.5], [0, focal_px, 239.5], [0, 0, 1]])
    lens = Camera(width=640, height=480, lens="pinhole5", matrix=matrix, distortion=np.zeros(5))
    T_cam_world = look_at(middle_m + distance_m * R_world_hand @ out, middle_m + random.normal(0, 0.02, 3))
    return RigCamera(camera_id="judge", camera=lens, T_cam_world=T_cam_world)
