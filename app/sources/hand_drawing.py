"""Draws hand skeletons into the image of a camera, cheaply enough for several cameras on a small machine."""

from collections.abc import Iterable

import cv2
import numpy as np

from calibration.rig import RigCamera

# Thumb, index, middle, ring, little finger, then the palm; BGR.
_FINGER_COLOURS = ((60, 110, 235), (70, 200, 240), (110, 205, 110), (225, 165, 70), (200, 100, 190))
_PALM_COLOUR = (150, 175, 215)
_BONE_RADIUS_M = 0.007
_JOINT_RADIUS_M = 0.0085


def _bones() -> list[tuple[int, int, tuple[int, int, int]]]:
    bones = []
    for finger, colour in enumerate(_FINGER_COLOURS):
        first = 1 + 4 * finger
        bones += [(first + joint, first + joint + 1, colour) for joint in range(3)]
    palm = [(0, 1), (0, 5), (5, 9), (9, 13), (13, 17), (17, 0)]
    return bones + [(a, b, _PALM_COLOUR) for a, b in palm]


_BONES = _bones()


class HandDrawing:
    """The hands as one camera sees them, over a soft gradient that is made once."""

    def __init__(self, camera: RigCamera) -> None:
        self._camera = camera
        height, width = camera.camera.height, camera.camera.width
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        shade = 1 - 0.5 * np.hypot((columns - width / 2) / width, (rows - height / 2) / height)
        self._background = (shade[..., None] * np.array([88, 80, 74], np.float32)).astype(np.uint8)

    def draw(self, hands_world_m: Iterable[np.ndarray], out: np.ndarray) -> None:
        """Draw hands of 21 joints (21, 3), world metres, into `out` (H, W, 3) BGR uint8; nearer parts cover others."""
        np.copyto(out, self._background)
        image = out if out.flags.c_contiguous else out.copy()
        joints = np.concatenate([*hands_world_m])
        pixels = self._camera.project(joints)
        depths_m = joints @ self._camera.T_cam_world[2, :3] + self._camera.T_cam_world[2, 3]
        firsts = range(0, len(joints), 21)
        bones = [(a + first, b + first, colour) for first in firsts for a, b, colour in _BONES]
        visible = np.linalg.norm(pixels, axis=1) < 1e4
        bones = [bone for bone in bones if visible[bone[0]] and visible[bone[1]]]
        # Four more bits of position, so that a moving hand does not jump from pixel to pixel.
        points = np.where(visible[:, None], pixels * 16, 0).round().astype(int).tolist()
        focal_px = self._camera.camera.focal_px
        for a, b, colour in sorted(bones, key=lambda bone: -(depths_m[bone[0]] + depths_m[bone[1]])):
            depth_m = (depths_m[a] + depths_m[b]) / 2
            thickness = max(1, round(2 * focal_px * _BONE_RADIUS_M / depth_m))
            cv2.line(image, points[a], points[b], colour, thickness, cv2.LINE_8, 4)
            for joint in (a, b):
                radius = round(16 * focal_px * _JOINT_RADIUS_M / depths_m[joint])
                cv2.circle(image, points[joint], radius, colour, cv2.FILLED, cv2.LINE_8, 4)
        if image is not out:
            np.copyto(out, image)
