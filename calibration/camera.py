"""Camera models: from points in front of a camera to pixels and back.

Camera axes as OpenCV: +x right, +y down, +z forward. Pixel centres at integers. Distortion models and the order of
their coefficients are OpenCV's: https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html and, for the fisheye,
J. Kannala and S. Brandt, "A generic camera model and calibration method for conventional, wide-angle, and fish-eye
lenses", PAMI 2006.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np

from calibration.errors import UserError

LensModel = Literal["pinhole5", "pinhole8", "fisheye4"]
COEFFICIENTS: dict[str, str] = {
    "pinhole5": "k1 k2 p1 p2 k3",
    "pinhole8": "k1 k2 p1 p2 k3 k4 k5 k6",
    "fisheye4": "k1 k2 k3 k4",
}
LARGEST_SIDE = 16384
# Far beyond any lens, and small enough that no power of them overflows.
_LARGEST = 1e8
# A fisheye's rays beyond this angle have no finite x/z and y/z worth the name.
_WIDEST_FLAT_RAD = np.radians(89.9)
_UNDISTORT_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-10)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Intrinsics and lens of one camera.

    `matrix` is the 3x3 intrinsic matrix in pixels; `distortion` holds the coefficients that COEFFICIENTS names for
    `lens`. Raises UserError when built with a wrong count of coefficients, a matrix that is not an intrinsic matrix,
    or a value that is not finite.
    """

    width: int
    height: int
    lens: LensModel
    matrix: np.ndarray
    distortion: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", np.asarray(self.matrix, dtype=np.float64))
        object.__setattr__(self, "distortion", np.asarray(self.distortion, dtype=np.float64).reshape(-1))
        if not (0 < self.width <= LARGEST_SIDE and 0 < self.height <= LARGEST_SIDE):
            raise UserError(f"image size is {self.width}x{self.height}; both must be from 1 to {LARGEST_SIDE} pixels.")
        if self.lens not in COEFFICIENTS:
            raise UserError(f"lens model is `{self.lens}`; known models: {', '.join(COEFFICIENTS)}.")
        names = COEFFICIENTS[self.lens].split()
        if len(self.distortion) != len(names):
            raise UserError(
                f"lens model {self.lens} takes {len(names)} coefficients ({' '.join(names)}); "
                f"got {len(self.distortion)}."
            )
        # OpenCV's projection ignores a skew, so one must not pass silently.
        if self.matrix.shape != (3, 3) or (self.matrix[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]] != [0, 0, 0, 0, 1]).any():
            raise UserError(
                "the intrinsic matrix must be 3x3 without skew, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; "
                f"got {self.matrix.tolist()}."
            )
        if not (np.isfinite(self.matrix).all() and np.isfinite(self.distortion).all()):
            raise UserError("intrinsics must be finite numbers; got NaN or infinity.")
        for name, values in (("matrix", self.matrix), ("distortion", self.distortion)):
            if np.abs(values).max() > _LARGEST:
                raise UserError(f"`{name}` must hold numbers up to {_LARGEST:g}; got {values.tolist()}.")
        if self.matrix[0, 0] <= 0 or self.matrix[1, 1] <= 0:
            raise UserError(f"focal lengths must be positive; got fx {self.matrix[0, 0]}, fy {self.matrix[1, 1]}.")

    @cached_property
    def focal_px(self) -> float:
        """Mean focal length in pixels."""
        return float((self.matrix[0, 0] + self.matrix[1, 1]) / 2)

    def project(self, points_cam_m: np.ndarray) -> np.ndarray:
        """Points (..., 3) in camera axes, metres, to distorted pixels (..., 2); NaN for points not in front."""
        points = np.asarray(points_cam_m, dtype=np.float64)
        flat = points.reshape(-1, 1, 3)
        if not len(flat):
            return np.empty((*points.shape[:-1], 2))
        zero = np.zeros(3)
        project = cv2.fisheye.projectPoints if self.lens == "fisheye4" else cv2.projectPoints
        pixels = project(flat, zero, zero, self.matrix, self.distortion)[0].reshape(-1, 2)
        pixels[~(flat[:, 0, 2] > 1e-9)] = np.nan
        return pixels.reshape(*points.shape[:-1], 2)

    def undistort(self, points_px: np.ndarray) -> np.ndarray:
        """Distorted pixels (..., 2) to normalised image coordinates (..., 2): x/z and y/z in camera axes.

        A fisheye's pixels that see 90 degrees off the axis or more, or nothing at all, are taken for 89.9 degrees.
        """
        points = np.asarray(points_px, dtype=np.float64)
        if not points.size:
            return np.empty(points.shape)
        if self.lens == "fisheye4":
            towards, angle = self._fisheye_angles(points)
            angle = np.minimum(np.nan_to_num(angle, nan=_WIDEST_FLAT_RAD), _WIDEST_FLAT_RAD)
            return towards * np.tan(angle)[..., None]
        normalised = cv2.undistortPointsIter(
            points.reshape(-1, 1, 2), self.matrix, self.distortion, np.eye(3), np.eye(3), _UNDISTORT_STOP
        )
        return normalised.reshape(points.shape)

    def rays(self, points_px: np.ndarray) -> np.ndarray:
        """Distorted pixels (..., 2) to unit vectors (..., 3) in camera axes; NaN where a fisheye sees nothing."""
        if self.lens == "fisheye4":
            towards, angle = self._fisheye_angles(np.asarray(points_px, dtype=np.float64))
            return np.concatenate([towards * np.sin(angle)[..., None], np.cos(angle)[..., None]], axis=-1)
        flat = self.undistort(points_px)
        rays = np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], axis=-1)
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def _fisheye_angles(self, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit directions (..., 2) in the image, and angles (...) off the axis in radians, to 180 degrees."""
        away = (points_px - self.matrix[:2, 2]) / self.matrix[[0, 1], [0, 1]]
        distorted = np.linalg.norm(away, axis=-1)
        towards = away / np.maximum(distorted, 1e-12)[..., None]
        return towards, undistorted_angles(distorted, self.distortion)


def undistorted_angles(distorted: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Angles (...) off a fisheye's axis in radians, of distorted ones; NaN where no angle to 180 degrees has this one.

    OpenCV's own inverse holds distorted angles below a quarter turn, which rays within the half space may exceed.
    """
    powers = np.array([1.0, *coefficients])
    odd = 2 * np.arange(len(powers)) + 1
    slopes = powers * odd
    grid = np.linspace(0, np.pi, 721)
    rising = np.polynomial.polynomial.polyval(grid**2, slopes) > 0
    # Where the distorted angle stops to grow with the angle, the model has no inverse.
    grid = grid[: len(grid) if rising.all() else int(np.argmin(rising))]
    reached = grid * np.polynomial.polynomial.polyval(grid**2, powers)
    angle = np.interp(distorted, reached, grid)
    for _ in range(4):
        squared = angle**2
        excess = angle * np.polynomial.polynomial.polyval(squared, powers) - distorted
        angle = np.clip(angle - excess / np.polynomial.polynomial.polyval(squared, slopes), 0, grid[-1])
    return np.where(distorted <= reached[-1], angle, np.nan)
