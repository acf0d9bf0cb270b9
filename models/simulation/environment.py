"""Real light: panoramas of places, read from a folder of the user's own, and how they light a hand.

The harmonics of `panorama.py` cast no shadow and make nothing gloss, so what is brightest becomes a lamp, and the rest
is the light from all sides.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import UserError
from calibration.rig import Rig
from models.simulation.backdrop import picture_rays
from models.simulation.backgrounds import SIZE_PX
from models.simulation.panorama import directions, irradiance, picture, solid_angles, turned
from models.simulation.scene import Light, Lighting
from models.simulation.simulated_scene import SimulatedScene

_ENDINGS = {".hdr", ".exr", ".jpg", ".jpeg", ".png"}
_MOST_PX = 2048
_LIGHT_PX = (128, 64)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
# Of a lamp: how far around the brightest direction it reaches, and how many times the mean its light is at least.
_LAMP_RAD, _LAMP_ABOVE = np.deg2rad(20.0), 2.0
# Auto exposure: the mean over all directions, as in looks.py, and the most that a surface that faces the lamp gets.
_MEAN_LIGHT, _MOST_LIGHT = 0.6, 1.6
_BRIGHTNESS_SD, _SEEN = 0.2, 0.5
# How far the mean colour is taken to grey, as cameras do: all of it at 1.
_WHITE_BALANCE = 0.7


def panoramas_in(folder: Path) -> tuple[Path, ...]:
    """The panoramas in a folder, sorted. Raises UserError where there is none, or one that cannot be read."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = tuple(path for path in found if path.suffix.lower() in _ENDINGS and path.is_file())
    if not paths:
        raise UserError(
            f"{folder}: no panorama in it; expected equirectangular files that end in {', '.join(sorted(_ENDINGS))}. "
            "Name a folder of such pictures, or leave it out for made-up light."
        )
    for path in paths:
        read_panorama(path)
    return paths


@lru_cache(maxsize=32)
def read_panorama(path: Path) -> np.ndarray:
    """Linear RGB (H, W, 3) float32 of an equirectangular picture, W at most 2048. Raises UserError for what is none."""
    # OpenCV reads OpenEXR only where it is asked to; these files are the user's own.
    os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None or not np.isfinite(image).all() or not (image > 0).any():
        raise UserError(f"{path}: not a panorama that can be read. Remove it from the folder, or save it again.")
    height, width = image.shape[:2]
    if width != 2 * height:
        raise UserError(
            f"{path}: {width} x {height} pixels; expected an equirectangular panorama, twice as wide as high. "
            "Remove it from the folder."
        )
    rgb = image[..., ::-1].astype(np.float32)
    if image.dtype != np.float32:
        # Pictures of whole numbers are sRGB (IEC 61966-2-1), here as a plain power.
        rgb = (rgb / float(np.iinfo(image.dtype.name).max)) ** 2.2
    if width > _MOST_PX:
        rgb = cv2.resize(rgb, (_MOST_PX, _MOST_PX // 2), interpolation=cv2.INTER_AREA)
    return np.maximum(rgb, 0)


def lighting_of(panorama: np.ndarray, brightness: float = 1.0) -> tuple[Lighting, np.ndarray]:
    """A lamp where the panorama (H, W, 3) is brightest, the rest from all sides; and what its colours (3,) were
    multiplied by, as a camera's exposure and white balance do."""
    radiance = cv2.resize(panorama, _LIGHT_PX, interpolation=cv2.INTER_AREA)
    width, height = _LIGHT_PX
    angles = solid_angles(height, width)
    colour = (radiance * angles[..., None]).sum((0, 1)) / (4 * np.pi)
    mean = max(float(colour @ _LUMINANCE), 1e-9)
    rest = _without_lamp(radiance, _LAMP_ABOVE * mean)
    of_lamp = (radiance - rest) * angles[..., None] / np.pi
    strength = of_lamp @ _LUMINANCE
    facing = float(strength.sum())
    gain = brightness * min(_MEAN_LIGHT / mean, _MOST_LIGHT / max(facing, 1e-9))
    gain = gain * (mean / np.maximum(colour, 1e-3 * mean)) ** _WHITE_BALANCE
    lights: tuple[Light, ...] = ()
    if facing > 1e-3 * mean:
        towards = directions(height, width)
        middle = (towards * strength[..., None]).sum((0, 1))
        middle /= np.linalg.norm(middle)
        off = np.sqrt((strength * np.arccos(np.clip(towards @ middle, -1, 1)) ** 2).sum() / facing)
        # A disc's points are 1 / sqrt(2) of its radius off its middle, as root mean square.
        softness = float(np.clip(np.sqrt(2) * np.tan(off), 0.03, 0.8))
        lights = (Light(_triple(middle), _triple(gain * of_lamp.sum((0, 1))), softness),)
    return Lighting(lights, around=gain * irradiance(rest)), gain


def _without_lamp(radiance: np.ndarray, most: float) -> np.ndarray:
    """The panorama (H, W, 3), around its brightest direction no brighter than `most`."""
    height, width = radiance.shape[:2]
    light = radiance @ _LUMINANCE
    coarse = cv2.resize(light, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    row, column = np.unravel_index(coarse.argmax(), coarse.shape)
    near = directions(height, width) @ directions(*coarse.shape)[row, column] > np.cos(_LAMP_RAD)
    share = np.where(near & (light > most), most / np.maximum(light, 1e-9), 1.0)
    return radiance * share[..., None]


def in_a_place(scene: SimulatedScene, rig: Rig, folder: Path, seed: Sequence[int]) -> SimulatedScene:
    """The scene lit by one of the folder's panoramas, turned at random; half of the time its cameras see the place."""
    random = np.random.default_rng(seed)
    paths = panoramas_in(folder)
    panorama = turned(read_panorama(paths[int(random.integers(len(paths)))]), random.random())
    lighting, exposure = lighting_of(panorama, float(np.exp(random.normal(0, _BRIGHTNESS_SD))))
    scene = replace(scene, lighting=lighting)
    if random.random() >= _SEEN:
        return scene
    width, height = SIZE_PX
    views = dict(scene.views)
    for camera in rig.cameras:
        if camera.camera_id in views:
            rays = picture_rays(camera.camera, height, width) @ camera.T_cam_world[:3, :3]
            views[camera.camera_id] = replace(views[camera.camera_id], background=picture(panorama, rays, exposure))
    return replace(scene, views=views)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
