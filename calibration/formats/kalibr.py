"""Kalibr's camera chain, `camchain.yaml` and `camchain-imucam.yaml`.

https://github.com/ethz-asl/kalibr/wiki/yaml-formats: `cam0`, `cam1`, ... with `camera_model` and `intrinsics` (pinhole:
fu fv pu pv), `distortion_model` and `distortion_coeffs` (radtan: k1 k2 p1 p2 of OpenCV; equidistant: OpenCV's fisheye;
none), `resolution`, and from cam1 on `T_cn_cnm1`, 4x4 in metres from the camera before to this one. Against an IMU
there are `T_cam_imu` and `timeshift_cam_imu`, seconds, t_imu = t_cam + shift, which is minus a rig's time offset.

OpenVINS writes the same with `%YAML:1.0` before it, and may know the cameras only by `T_cam_imu` or its inverse
`T_imu_cam` (https://docs.openvins.com/gs-calibration.html).

The chain has no world frame: cam0's is taken, or where the entry `T_cam0_world` of this program stands in `cam0`, that
world's. Kalibr passes over it.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from calibration.errors import UserError
from calibration.formats import parts
from calibration.formats.file_storage import read_yaml_mapping
from calibration.formats.found import FoundCamera, FoundRig
from calibration.formats.parts import (
    EXTRAS_KEY,
    CameraExtras,
    RigExtras,
    camera_extras,
    decode_extras,
    intrinsic_matrix,
    rig_extras,
)
from calibration.rig import CalibrationRecord, Rig, RigCamera, check_rigid
from calibration.yamlfile import write_yaml

_WORLD_KEY = "T_cam0_world"
_RIG_KEY = f"{EXTRAS_KEY}_rig"
_OWN_KEYS = {
    "camera_model", "intrinsics", "distortion_model", "distortion_coeffs", "resolution", "T_cn_cnm1",
    "timeshift_cam_imu", "rostopic", EXTRAS_KEY, _RIG_KEY, _WORLD_KEY,
}  # fmt: skip
_CAMERA = re.compile(r"cam\d+")
_COEFFICIENTS = {"radtan": 4, "equidistant": 4, "none": 0}
_MOST_S = 1e6


def read(path: Path) -> FoundRig:
    """Read a camera chain; cameras keep Kalibr's names cam0, cam1, ... unless this program wrote others.

    Raises UserError.
    """
    entries, left_out = _read_entries(path)
    T_cam_world: np.ndarray | None = _matrix(entries["cam0"], _WORLD_KEY, f"{path}: camera `cam0`")
    T_cam_world = np.eye(4) if T_cam_world is None else T_cam_world
    cameras, before = [], None
    for name, entry in entries.items():
        place = f"{path}: camera `{name}`"
        if before is not None:
            step = _step(before, entry, place)
            T_cam_world = None if step is None or T_cam_world is None else step @ T_cam_world
        extras = decode_extras(entry.get(EXTRAS_KEY), CameraExtras, place)
        extras.time_offset_ns = -round(_number(entry.get("timeshift_cam_imu", 0.0), "timeshift_cam_imu", place) * 1e9)
        no_pose = "`T_cn_cnm1` is missing. Calibrate again, or add it."
        cameras.append(
            replace(_lens(entry, place), names=(name,), T_cam_world=T_cam_world, no_pose=no_pose, extras=extras)
        )
        before = entry
    extras = decode_extras(entries["cam0"].get(_RIG_KEY), RigExtras, str(path))
    extras.time_offsets_known = any("timeshift_cam_imu" in entry for entry in entries.values())
    left_out += [key for entry in entries.values() for key in entry if key not in _OWN_KEYS]
    left_out += ["rostopic" for name, entry in entries.items() if entry.get("rostopic", _topic(name)) != _topic(name)]
    return FoundRig(
        path=path,
        cameras=tuple(cameras),
        extras=extras,
        record=CalibrationRecord(tool="Kalibr"),
        left_out=tuple(left_out),
    )


def _step(before: dict[str, Any], entry: dict[str, Any], place: str) -> np.ndarray | None:
    """From the camera before to this one (4, 4); of OpenVINS's files by way of the IMU."""
    step = _matrix(entry, "T_cn_cnm1", place)
    if step is not None:
        return step
    T_imu = [_T_cam_imu(of_camera, place) for of_camera in (before, entry)]
    return None if T_imu[0] is None or T_imu[1] is None else T_imu[1] @ np.linalg.inv(T_imu[0])


def _T_cam_imu(entry: dict[str, Any], place: str) -> np.ndarray | None:
    T_imu_cam = _matrix(entry, "T_imu_cam", place)
    return _matrix(entry, "T_cam_imu", place) if T_imu_cam is None else np.linalg.inv(T_imu_cam)


def _topic(name: str) -> str:
    return f"/{name}/image_raw"


def _read_entries(path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The cameras by name, and the names of what else the file has."""
    content = read_yaml_mapping(path)
    names = [key for key in content if isinstance(key, str) and _CAMERA.fullmatch(key)]
    wanted = [f"cam{index}" for index in range(len(names))]
    if not names or set(names) != set(wanted) or not all(isinstance(content[name], dict) for name in names):
        raise UserError(f"{path}: expected the entries cam0, cam1, ... of a Kalibr camera chain, and no gap.")
    return {name: content[name] for name in wanted}, [str(key) for key in content if key not in names]


def _lens(entry: dict[str, Any], place: str) -> FoundCamera:
    model, distortion_model = entry.get("camera_model"), entry.get("distortion_model", "none")
    if model != "pinhole" or distortion_model not in _COEFFICIENTS:
        raise UserError(
            f"{place}: a rig has no lens `{model}` with `{distortion_model}`; it takes pinhole with "
            f"{', '.join(_COEFFICIENTS)}. Calibrate this camera with such a model."
        )
    size = _numbers(entry, "resolution", 2, place)
    count = _COEFFICIENTS[distortion_model]
    return FoundCamera(
        place=place,
        names=(),
        image_size=parts.image_size(size, place),
        matrix=intrinsic_matrix(_numbers(entry, "intrinsics", 4, place)),
        distortion=_numbers(entry, "distortion_coeffs", count, place) if count else np.zeros(0),
        fisheye=distortion_model == "equidistant",
    )


def _matrix(entry: dict[str, Any], key: str, place: str) -> np.ndarray | None:
    if key not in entry:
        return None
    matrix = _numbers(entry, key, 16, place).reshape(4, 4)
    try:
        check_rigid(matrix)
    except UserError as error:
        raise UserError(f"{place}: {str(error).replace('T_cam_world', key)}") from None
    return matrix


def _numbers(entry: dict[str, Any], key: str, count: int, place: str) -> np.ndarray:
    try:
        numbers = np.array(entry[key], dtype=np.float64).reshape(-1)
    except KeyError:
        raise UserError(f"{place}: `{key}` is missing. Calibrate again, or add it.") from None
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{place}: `{key}` must be numbers; got {entry[key]!r}. Correct it.") from None
    if numbers.size != count:
        raise UserError(f"{place}: `{key}` must have {count} numbers; got {numbers.size}. Correct it.")
    return numbers


def _number(value: object, key: str, place: str) -> float:
    try:
        number = msgspec.convert(value, float)
        if not abs(number) < _MOST_S:
            raise ValueError
        return number
    except ValueError:
        raise UserError(f"{place}: `{key}` must be a number of seconds; got {value!r}. Correct it.") from None


def write(path: Path, rig: Rig) -> None:
    """Write a camera chain. Raises UserError for a lens that has more than radtan's four coefficients."""
    content: dict[str, dict[str, Any]] = {}
    before: RigCamera | None = None
    for index, camera in enumerate(rig.cameras):
        lens, name = camera.camera, f"cam{index}"
        fisheye = lens.lens == "fisheye4"
        if not fisheye and lens.distortion[4:].any():
            raise UserError(
                f"{path}: camera `{camera.camera_id}`: Kalibr's radtan holds k1 k2 p1 p2, and `distortion` of "
                f"{lens.lens} has {lens.distortion[4:].tolist()} beyond. Write another format, or calibrate without "
                "them."
            )
        entry: dict[str, Any] = {
            "camera_model": "pinhole",
            "intrinsics": lens.matrix[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(),
            "distortion_model": "equidistant" if fisheye else "radtan",
            "distortion_coeffs": lens.distortion[:4].tolist(),
            "resolution": [lens.width, lens.height],
            "rostopic": _topic(name),
        }
        if before is not None:
            entry["T_cn_cnm1"] = (camera.T_cam_world @ np.linalg.inv(before.T_cam_world)).tolist()
        elif not np.array_equal(camera.T_cam_world, np.eye(4)):
            entry[_WORLD_KEY] = camera.T_cam_world.tolist()
        if rig.time_offsets_known:
            entry["timeshift_cam_imu"] = -camera.time_offset_ns / 1e9
        elif camera.time_offset_ns:
            raise UserError(
                f"{path}: camera `{camera.camera_id}`: `time_offset` is set in a rig whose offsets are unknown."
            )
        extras = camera_extras(
            camera,
            id=None if camera.camera_id == name else camera.camera_id,
            lens="pinhole8" if lens.lens == "pinhole8" else None,
            time_offset_ns=0,
        )
        if extras:
            entry[EXTRAS_KEY] = extras
        content[name] = entry
        before = camera
    of_rig = rig_extras(rig, time_offsets_known=False)
    if of_rig:
        content["cam0"][_RIG_KEY] = of_rig
    write_yaml(path, content)
