"""What COLMAP's numbers mean, as text and in binary: https://colmap.github.io/cameras.html."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.errors import UserError
from calibration.formats.found import FoundCamera
from calibration.formats.parts import intrinsic_matrix
from calibration.rotations import make_transform

HALF_PIXEL = 0.5
# Parameters of COLMAP's models (src/colmap/sensor/models.h) as OpenCV has them: fx fy cx cy, then its coefficients.
# f stands for both focal lengths.
MODELS = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
    "FULL_OPENCV": "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6",
    "SIMPLE_RADIAL_FISHEYE": "f cx cy k1",
    "RADIAL_FISHEYE": "f cx cy k1 k2",
    "OPENCV_FISHEYE": "fx fy cx cy k1 k2 k3 k4",
}


def found_lens(model: str, width: int, height: int, parameters: list[float], place: str) -> FoundCamera:
    """A camera without name and pose. Raises UserError for a wrong number of parameters."""
    names = MODELS[model].split()
    if len(parameters) != len(names):
        raise UserError(f"{place}: {model} has {len(names)} parameters ({' '.join(names)}); got {len(parameters)}.")
    values = dict(zip(names, parameters, strict=True))
    fx, fy = values.get("fx", values.get("f", 0.0)), values.get("fy", values.get("f", 0.0))
    fisheye = model.endswith("FISHEYE")
    wanted = [f"k{index}" for index in range(1, 5)] if fisheye else MODELS["FULL_OPENCV"].split()[4:]
    coefficients = np.array([values.get(name, 0.0) for name in wanted])
    return FoundCamera(
        place=place,
        names=(),
        image_size=(width, height),
        matrix=intrinsic_matrix(np.array([fx, fy, values["cx"] - HALF_PIXEL, values["cy"] - HALF_PIXEL])),
        distortion=coefficients if fisheye or coefficients[5:].any() else coefficients[:5],
        fisheye=fisheye,
    )


def found_pose(numbers: Sequence[float], place: str) -> np.ndarray:
    """T_cam_world (4, 4) from QW QX QY QZ TX TY TZ. Raises UserError for a quaternion that is none."""
    quaternion, translation = np.array(numbers[:4]), np.array(numbers[4:])
    if not abs(np.linalg.norm(quaternion) - 1) < 1e-3:
        raise UserError(f"{place}: the quaternion {quaternion.tolist()} is not of length 1. Correct the line.")
    return make_transform(Rotation.from_quat(np.roll(quaternion, -1)).as_matrix(), translation)
