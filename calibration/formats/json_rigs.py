"""Basalt's and multical's calibrations, which are JSON.

Basalt (https://gitlab.com/VladyslavUsenko/basalt, doc/Calibration.md): in `value0` a list each of `T_imu_cam` (px py pz
qx qy qz qw, camera to IMU, metres), `intrinsics` (`camera_type` and its numbers) and `resolution`; the world is the
IMU's frame. Of its lenses pinhole, pinhole-radtan8 and kb4 are OpenCV's.

multical (https://github.com/oliver-batchelor/multical, multical/io/export_calib.py): `cameras` with `model`,
`image_size`, `K` and `dist` in OpenCV's order, and `camera_poses` with `R` and `T`, world to camera; where a camera is
the master, the others are called NAME_to_MASTER. Lengths have the unit of the board, metres in multical's own examples.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.errors import UserError
from calibration.formats import parts
from calibration.formats.file_storage import read_text
from calibration.formats.found import FoundCamera, FoundRig
from calibration.formats.parts import intrinsic_matrix
from calibration.plain_json import parse_json
from calibration.rig import CalibrationRecord
from calibration.rotations import make_transform

_RADTAN8 = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
# Of Basalt's lenses: the coefficients, and whether it is a fisheye.
_BASALT_LENSES = {"pinhole": ((), False), "pinhole-radtan8": (_RADTAN8, False), "kb4": (("k1", "k2", "k3", "k4"), True)}
_MULTICAL_LENSES = ("standard", "rational", "thin_prism", "tilted")


def format_of_json(text: str) -> str | None:
    """`basalt`, `multical` or None, from what a JSON file holds."""
    try:
        content = parse_json(text)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("value0"), dict) and "intrinsics" in content["value0"]:
        return "basalt"
    cameras = content.get("cameras")
    of_multical = isinstance(cameras, dict) and any(isinstance(c, dict) and "K" in c for c in cameras.values())
    return "multical" if of_multical else None


def read_basalt(path: Path) -> FoundRig:
    """Cameras are called cam0, cam1, ... as in Basalt's data sets. Raises UserError."""
    return _read(path, "Basalt", _basalt)


def read_multical(path: Path) -> FoundRig:
    """Raises UserError."""
    return _read(path, "multical", _multical)


def _read(path: Path, tool: str, cameras: Callable[[dict[str, Any], Path], list[FoundCamera]]) -> FoundRig:
    try:
        found = cameras(parse_json(read_text(path)), path)
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise UserError(f"{path}: is not as {tool} writes it ({error!r}). Write it again with {tool}.") from None
    return FoundRig(path=path, cameras=tuple(found), record=CalibrationRecord(tool=tool))


def _basalt(content: dict[str, Any], path: Path) -> list[FoundCamera]:
    calibration = content["value0"]
    cameras = []
    for index, entry in enumerate(calibration["intrinsics"]):
        place = f"{path}: camera `cam{index}`"
        kind, values = entry["camera_type"], entry["intrinsics"]
        if kind not in _BASALT_LENSES:
            raise UserError(
                f"{place}: a rig has no lens `{kind}`; it takes {', '.join(_BASALT_LENSES)}. Calibrate with one."
            )
        names, fisheye = _BASALT_LENSES[kind]
        width, height = calibration["resolution"][index]
        pose = calibration["T_imu_cam"][index]
        T_imu_cam = make_transform(
            Rotation.from_quat([pose[key] for key in ("qx", "qy", "qz", "qw")]).as_matrix(),
            np.array([pose[key] for key in ("px", "py", "pz")], dtype=np.float64),
        )
        cameras.append(
            FoundCamera(
                place=place,
                names=(f"cam{index}",),
                image_size=parts.image_size((width, height), place),
                matrix=intrinsic_matrix(np.array([values[key] for key in ("fx", "fy", "cx", "cy")], dtype=np.float64)),
                distortion=np.array([values[key] for key in names], dtype=np.float64),
                fisheye=fisheye,
                T_cam_world=np.linalg.inv(T_imu_cam),
            )
        )
    return cameras


def _multical(content: dict[str, Any], path: Path) -> list[FoundCamera]:
    poses = {name.partition("_to_")[0]: pose for name, pose in content.get("camera_poses", {}).items()}
    poses |= content.get("camera_poses", {})
    cameras = []
    for name, entry in content["cameras"].items():
        place = f"{path}: camera `{name}`"
        if entry.get("model", "standard") not in _MULTICAL_LENSES:
            raise UserError(
                f"{place}: a rig has no lens `{entry['model']}` of multical; it takes {', '.join(_MULTICAL_LENSES)}. "
                "Calibrate with one of them."
            )
        width, height = entry["image_size"]
        pose = poses.get(name)
        cameras.append(
            FoundCamera(
                place=place,
                names=(name,),
                image_size=parts.image_size((width, height), place),
                matrix=np.array(entry["K"], dtype=np.float64),
                distortion=np.array(entry["dist"], dtype=np.float64).reshape(-1),
                T_cam_world=None
                if pose is None
                else make_transform(np.array(pose["R"]).reshape(3, 3), np.array(pose["T"], dtype=float).reshape(3)),
                no_pose="`camera_poses` has no pose of it.",
            )
        )
    return cameras
