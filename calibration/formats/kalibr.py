"""Kalibr's camera chain, `camchain.yaml` and `camchain-imucam.yaml`.

https://github.com/ethz-asl/kalibr/wiki/yaml-formats: `cam0`, `cam1`, ... with `camera_model` and `intrinsics` (pinhole:
fu fv pu pv), `distortion_model` and `distortion_coeffs` (radtan: k1 k2 p1 p2 of OpenCV; equidistant: OpenCV's fisheye;
none), `resolution`, and from cam1 on `T_cn_cnm1`, 4x4 in metres from the camera before to this one. Against an IMU
there are `T_cam_imu` and `timeshift_cam_imu`, seconds, t_imu = t_cam + shift, which is minus a rig's time offset.

The chain has no world frame: cam0's is taken, or where the entry `T_cam0_world` of this program stands in `cam0`, that
world's. Kalibr passes over it.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from calibration.camera import Camera
from calibration.errors import UserError
from calibration.formats.parts import (
    EXTRAS_KEY,
    CameraExtras,
    RigExtras,
    camera_extras,
    decode_extras,
    intrinsic_matrix,
    make_camera,
    make_rig,
    pinhole,
    rig_extras,
    warn_left_out,
)
from calibration.rig import CalibrationRecord, Rig, RigCamera, check_rigid
from calibration.yamlfile import write_yaml

_WORLD_KEY = "T_cam0_world"
_RIG_KEY = f"{EXTRAS_KEY}_rig"
_OWN_KEYS = {
    "camera_model", "intrinsics", "distortion_model", "distortion_coeffs", "resolution", "T_cn_cnm1",
    "timeshift_cam_imu", "rostopic", EXTRAS_KEY, _RIG_KEY, _WORLD_KEY,
}  # fmt: skip
_COEFFICIENTS = {"radtan": 4, "equidistant": 4, "none": 0}


def read(path: Path, unit_mm: float | None = None) -> Rig:
    """Read a camera chain; cameras keep Kalibr's names cam0, cam1, ... unless this program wrote others.

    `unit_mm` is the length of one unit of the translations where it is not a metre. Raises UserError.
    """
    entries = _read_entries(path)
    length_m = 1.0 if unit_mm is None else unit_mm / 1000
    T_cam_world = _matrix(entries["cam0"], _WORLD_KEY, f"{path}: camera `cam0`", np.eye(4))
    T_cam_world[:3, 3] *= length_m
    cameras = []
    for name, entry in entries.items():
        place = f"{path}: camera `{name}`"
        if cameras:
            T_cn_cnm1 = _matrix(entry, "T_cn_cnm1", place)
            T_cn_cnm1[:3, 3] *= length_m
            T_cam_world = T_cn_cnm1 @ T_cam_world
        extras = decode_extras(entry.get(EXTRAS_KEY), CameraExtras, place)
        extras.time_offset_ns = -round(_number(entry.get("timeshift_cam_imu", 0.0), "timeshift_cam_imu", place) * 1e9)
        cameras.append(make_camera(place, name, _lens(entry, place), T_cam_world, extras))
    extras = decode_extras(entries["cam0"].get(_RIG_KEY), RigExtras, str(path))
    extras.time_offsets_known = any("timeshift_cam_imu" in entry for entry in entries.values())
    left_out = [key for entry in entries.values() for key in entry if key not in _OWN_KEYS]
    left_out += ["rostopic" for name, entry in entries.items() if entry.get("rostopic", _topic(name)) != _topic(name)]
    warn_left_out(path, left_out)
    return make_rig(path, cameras, extras, CalibrationRecord(tool="Kalibr"))


def _topic(name: str) -> str:
    return f"/{name}/image_raw"


def _read_entries(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Give the path of an existing calibration.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({error}). Write it again with Kalibr.") from None
    names = [f"cam{index}" for index in range(len(content))] if isinstance(content, dict) else []
    if not names or set(names) != set(content) or not all(isinstance(entry, dict) for entry in content.values()):
        raise UserError(f"{path}: expected the entries cam0, cam1, ... of a Kalibr camera chain, and nothing else.")
    return {name: content[name] for name in names}


def _lens(entry: dict[str, Any], place: str) -> Camera:
    model, distortion_model = entry.get("camera_model"), entry.get("distortion_model", "none")
    if model != "pinhole" or distortion_model not in _COEFFICIENTS:
        raise UserError(
            f"{place}: a rig has no lens `{model}` with `{distortion_model}`; it takes pinhole with "
            f"{', '.join(_COEFFICIENTS)}. Calibrate this camera with such a model."
        )
    width, height = (int(value) for value in _numbers(entry, "resolution", 2, place))
    intrinsics = _numbers(entry, "intrinsics", 4, place)
    count = _COEFFICIENTS[distortion_model]
    coefficients = _numbers(entry, "distortion_coeffs", count, place) if count else np.zeros(0)
    try:
        if distortion_model == "equidistant":
            return Camera(
                width=width,
                height=height,
                lens="fisheye4",
                matrix=intrinsic_matrix(intrinsics),
                distortion=coefficients,
            )
        return pinhole(width, height, intrinsics, coefficients)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _matrix(entry: dict[str, Any], key: str, place: str, default: np.ndarray | None = None) -> np.ndarray:
    if key not in entry and default is not None:
        return default
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
    except (TypeError, ValueError):
        raise UserError(f"{place}: `{key}` must be numbers; got {entry[key]!r}. Correct it.") from None
    if numbers.size != count:
        raise UserError(f"{place}: `{key}` must have {count} numbers; got {numbers.size}. Correct it.")
    return numbers


def _number(value: object, key: str, place: str) -> float:
    try:
        return msgspec.convert(value, float)
    except msgspec.ValidationError:
        raise UserError(f"{place}: `{key}` must be a number; got {value!r}. Correct it.") from None


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
