"""Images of a scene, as its cameras would take them, and what is true of each.

Only the part of an image in which hands or objects lie is ray-cast, one ray a pixel, through the camera's own lens.
"""

from functools import lru_cache

import cv2
import numpy as np

from calibration.errors import UserError
from calibration.rig import RigCamera
from models.hand.crop import Crop
from models.simulation import backdrop
from models.simulation.layer import PixelGrid, draw
from models.simulation.scene import HandInImage, PosedHand, Rendering, SceneState, SceneView
from models.simulation.sensor import develop
from models.simulation.shading import ShadedScene

# How far inside the hand its joints lie, metres, for the wrist and for the four joints of thumb and fingers.
_THUMB_DEPTHS_M = (0.026, 0.019, 0.014, 0.011)
_FINGER_DEPTHS_M = (0.022, 0.014, 0.012, 0.010)
JOINT_DEPTHS_M = np.array([0.028, *_THUMB_DEPTHS_M, *_FINGER_DEPTHS_M * 4])
"""(21,): a joint of a hand of mean thickness is hidden by what lies farther than this in front of it."""

_NEAREST_M = 0.03
_MARGIN_PX = 4
_MIN_CROP_PX = 24


def render(camera: RigCamera, state: SceneState) -> Rendering:
    """The whole image of a camera at one time, and the truth of all hands in it.

    Raises UserError where the camera is inside a hand or an object.
    """
    _check_pose(camera)
    shaded = _shaded(state)
    lens = camera.camera
    R_cam_world = camera.T_cam_world[:3, :3]
    view = state.views.get(camera.camera_id, SceneView())
    image = backdrop.whole_image(view.background, lens)
    for board in state.boards:
        image = backdrop.with_board(image, board, camera)
    if shaded is not None:
        _check_outside(camera, shaded)
        flow_px, low, high = _extent(camera, shaded)
        left, top = np.clip(np.floor(low) - _MARGIN_PX, 0, [lens.width, lens.height]).astype(int)
        right, bottom = np.clip(np.ceil(high) + _MARGIN_PX + 1, 0, [lens.width, lens.height]).astype(int)
        if right > left and bottom > top:
            rays = backdrop.lens_rays(lens)[top:bottom, left:right] @ R_cam_world.astype(np.float32)
            middle = camera.project(shaded.vertices_m) - (left, top)
            grid = PixelGrid(rays, camera.centre_world_m, R_cam_world[:2], lens.focal_px)
            layer = draw(shaded, grid, middle, flow_px)
            image[top:bottom, left:right] = layer.over(image[top:bottom, left:right])
    if view.sensor.blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), view.sensor.blur_px)
    image = develop(image, view.sensor, _seed(state, camera))
    return Rendering(image, hands_in_image(camera, state))


def render_crop(crop: Crop, camera: RigCamera, state: SceneState) -> np.ndarray:
    """The crop (S, S, 3) uint8 BGR that `crop.image` would cut from the camera's image, rendered directly.

    It is as fine as the camera's image is there, and black beyond its border. Boards are left out.
    Raises UserError where the camera is inside a hand or an object.
    """
    _check_pose(camera)
    shaded = _shaded(state)
    view = state.views.get(camera.camera_id, SceneView())
    focal_px = float(np.sqrt(abs(np.linalg.det(crop.H_crop_cam))))
    enlarged = focal_px / camera.camera.focal_px
    size = int(np.clip(np.ceil(crop.size_px / enlarged), _MIN_CROP_PX, crop.size_px))
    shrink = size / crop.size_px
    shift = shrink / 2 - 0.5
    H_px_cam = np.array([[shrink, 0, shift], [0, shrink, shift], [0, 0, 1]]) @ crop.H_crop_cam
    image = backdrop.seen_through(view.background, camera.camera, H_px_cam, size)
    if shaded is not None:
        _check_outside(camera, shaded)
        H_px_world = H_px_cam @ camera.T_cam_world[:3, :3]
        to_world = np.linalg.inv(H_px_world)
        steps = np.arange(size)[:, None]
        along_u, along_v = steps * to_world[:, 0] + to_world[:, 2], steps * to_world[:, 1]
        rays = along_u.astype(np.float32) + along_v.astype(np.float32)[:, None]
        ahead = (shaded.vertices_m - camera.centre_world_m) @ H_px_world.T
        moving = shaded.motion_m @ H_px_world.T
        middle = _divided(ahead)
        flow_px = _divided(ahead + moving / 2) - _divided(ahead - moving / 2)
        across = to_world[:, :2].T / np.linalg.norm(to_world[:, :2], axis=0)[:, None]
        grid = PixelGrid(rays, camera.centre_world_m, across, focal_px * shrink)
        image = draw(shaded, grid, middle, flow_px).over(image)
    blur_px = view.sensor.blur_px * focal_px * shrink / camera.camera.focal_px
    if blur_px > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), blur_px)
    image = develop(image, view.sensor, _seed(state, camera))
    outside = backdrop.beyond_border(camera.camera, H_px_cam, size)
    if outside is not None:
        image[outside] = 0
    return image if size == crop.size_px else cv2.resize(image, (crop.size_px, crop.size_px))


def hands_in_image(camera: RigCamera, state: SceneState) -> tuple[HandInImage, ...]:
    """The truth of every hand of the state in a camera's image, without rendering it."""
    _check_pose(camera)
    shaded = _shaded(state)
    if shaded is None:
        return ()
    return tuple(
        HandInImage(hand.side, camera.project(hand.joints_m), visible_joints(camera, hand, shaded), _box(camera, hand))
        for hand in state.hands
    )


def visible_joints(camera: RigCamera, hand: PosedHand, shaded: ShadedScene) -> np.ndarray:
    """(21,) bool: the joints that lie inside the image and whose line of sight meets nothing farther in front of them
    than the flesh that covers them (JOINT_DEPTHS_M), be it the hand itself, the other one or a thing."""
    sight = hand.joints_m - camera.centre_world_m
    distance_m = np.linalg.norm(sight, axis=1)
    rays = np.concatenate([np.broadcast_to(camera.centre_world_m, sight.shape), sight], axis=1).astype(np.float32)
    share = shaded.caster.first_hits(rays)[0]
    clear = (1 - share) * distance_m < JOINT_DEPTHS_M * hand.thickness
    pixels = camera.project(hand.joints_m)
    last = np.array([camera.camera.width, camera.camera.height]) - 0.5
    with np.errstate(invalid="ignore"):
        return clear & (pixels >= -0.5).all(axis=1) & (pixels < last).all(axis=1)


@lru_cache(maxsize=16)
def _shaded(state: SceneState) -> ShadedScene | None:
    return ShadedScene(state) if state.hands or state.objects else None


def _seed(state: SceneState, camera: RigCamera) -> list[int]:
    return [state.noise_seed, *camera.camera_id.encode()]


def _check_pose(camera: RigCamera) -> None:
    # Embree never comes back from a ray that is NaN.
    if not np.isfinite(camera.T_cam_world).all():
        raise UserError(f"camera `{camera.camera_id}`: T_cam_world holds numbers that are not finite. Give its pose.")


def _check_outside(camera: RigCamera, shaded: ShadedScene) -> None:
    centre = camera.centre_world_m
    nearest_m = float(np.sqrt(((shaded.vertices_m - centre) ** 2).sum(axis=1).min()))
    if nearest_m > 0.15:
        return
    ray = np.array([[*centre, 0.31, 0.17, 0.93]], dtype=np.float32)
    if nearest_m < _NEAREST_M or shaded.caster.crossings(ray)[0] % 2:
        raise UserError(
            f"camera `{camera.camera_id}` is inside a hand or an object, or touches it: the nearest point of a surface "
            f"is {1000 * nearest_m:.0f} mm away; at least {1000 * _NEAREST_M:.0f} mm are needed. "
            "Move the camera away from the hands."
        )


def _extent(camera: RigCamera, shaded: ShadedScene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How each vertex moves (N, 2) in pixels, and the corners of the box around all of them."""
    half = shaded.motion_m / 2
    start, end = camera.project(shaded.vertices_m - half), camera.project(shaded.vertices_m + half)
    size = np.array([camera.camera.width, camera.camera.height], dtype=float)
    both = np.concatenate([start, end])
    if not np.isfinite(both).all():
        return np.nan_to_num(end - start), np.zeros(2), size
    return end - start, both.min(axis=0), both.max(axis=0)


def _box(camera: RigCamera, hand: PosedHand) -> tuple[int, int, int, int] | None:
    pixels = camera.project(hand.joints_m)
    depth_m = hand.joints_m @ camera.T_cam_world[2, :3] + camera.T_cam_world[2, 3]
    ahead = depth_m > _NEAREST_M
    if not ahead.any():
        return None
    flesh_px = camera.camera.focal_px * (JOINT_DEPTHS_M * hand.thickness / depth_m)[ahead, None]
    size = [camera.camera.width, camera.camera.height]
    left, top = np.clip(np.floor((pixels[ahead] - flesh_px).min(axis=0)), 0, size).astype(int)
    right, bottom = np.clip(np.ceil((pixels[ahead] + flesh_px).max(axis=0)) + 1, 0, size).astype(int)
    return (int(left), int(top), int(right), int(bottom)) if right > left and bottom > top else None


def _divided(homogeneous: np.ndarray) -> np.ndarray:
    """Pixels (N, 2); NaN for what is not in front."""
    depth = homogeneous[:, 2:]
    return homogeneous[:, :2] / np.where(depth > 1e-6, depth, np.nan)
