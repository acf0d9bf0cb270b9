"""ROS's camera_info as YAML, of one camera a file (https://wiki.ros.org/camera_calibration_parsers).

`image_width`, `image_height`, `camera_name`, `camera_matrix`, `distortion_model` (plumb_bob, rational_polynomial,
equidistant), `distortion_coefficients`, and of a rectified pair `rectification_matrix` R and `projection_matrix` P. A
directory of such files is a rig where P tells where the cameras are: by sensor_msgs/CameraInfo the world is the
rectified frame, x_rect = R x_cam, and P[0, 3] = fx Tx, P[1, 3] = fy Ty in metres shift it to the first camera's.
"""

from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import UserError
from calibration.formats import parts
from calibration.formats.file_storage import parse_yaml, read_text, read_yaml_mapping
from calibration.formats.found import FoundCamera, FoundRig
from calibration.rig import CalibrationRecord
from calibration.rotations import make_transform

_MODELS = {
    "plumb_bob": False,
    "rational_polynomial": False,
    "radtan": False,
    "equidistant": True,
    "fisheye": True,
    "none": False,
}


def is_camera_info(content: object) -> bool:
    """Whether what a YAML file says is of this format."""
    return isinstance(content, dict) and {"camera_matrix", "image_width", "image_height"} <= set(content)


def files_in(folder: Path) -> list[Path]:
    """The files of this format in a directory, by name."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file())
    return [path for path in files if _is_file_of_it(path)]


def _is_file_of_it(path: Path) -> bool:
    try:
        return is_camera_info(parse_yaml(read_text(path)))
    except UserError:
        return False


def read(path: Path) -> FoundRig:
    """Read a file, or all of a directory. Raises UserError."""
    files = files_in(path) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: no camera_info of ROS in it. Give such a file, or their directory.")
    contents = [read_yaml_mapping(file) for file in files]
    return FoundRig(
        path=path,
        cameras=tuple(_camera(file, content) for file, content in zip(files, contents, strict=True)),
        record=CalibrationRecord(tool="ROS"),
    )


def _camera(path: Path, content: dict[str, Any]) -> FoundCamera:
    model = str(content.get("distortion_model", "plumb_bob"))
    if model not in _MODELS:
        raise UserError(f"{path}: a rig has no lens `{model}`; it takes {', '.join(_MODELS)}. Calibrate with one.")
    names = [str(content["camera_name"])] if content.get("camera_name") else []
    coefficients = _numbers(path, content, "distortion_coefficients")
    return FoundCamera(
        place=f"{path}: its camera",
        names=(*names, path.stem),
        image_size=parts.image_size((content["image_width"], content["image_height"]), str(path)),
        matrix=_numbers(path, content, "camera_matrix", 9).reshape(3, 3),
        distortion=coefficients if coefficients.any() or _MODELS[model] else np.zeros(0),
        fisheye=_MODELS[model],
        T_cam_world=_pose(path, content),
        no_pose="no `rectification_matrix` and `projection_matrix` of a pair.",
    )


def _pose(path: Path, content: dict[str, Any]) -> np.ndarray | None:
    if "rectification_matrix" not in content or "projection_matrix" not in content:
        return None
    R_rect_cam = _numbers(path, content, "rectification_matrix", 9).reshape(3, 3)
    P = _numbers(path, content, "projection_matrix", 12).reshape(3, 4)
    if not P[0, 0] or not P[1, 1]:
        return None
    shift = np.array([P[0, 3] / P[0, 0], P[1, 3] / P[1, 1], 0.0])
    return make_transform(R_rect_cam.T, R_rect_cam.T @ shift)


def _numbers(path: Path, content: dict[str, Any], key: str, count: int | None = None) -> np.ndarray:
    entry = content.get(key, [])
    values = entry.get("data", []) if isinstance(entry, dict) else entry
    try:
        numbers = np.array(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{path}: `{key}` must be numbers. Correct it.") from None
    if count is not None and numbers.size != count:
        raise UserError(f"{path}: `{key}` must have {count} numbers; got {numbers.size}. Correct it.")
    return numbers
