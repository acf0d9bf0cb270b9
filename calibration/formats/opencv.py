"""Cameras in OpenCV's own files (cv2.FileStorage): YAML, XML and JSON.

Written is the layout of OpenCV's multi-camera calibration (apps/python-calibration/multiview_calibration.py of
OpenCV 5): `cam_ids`, joined by commas; `Ks` Nx3x3; `distortions`, those of all cameras in one row; `models`, 0 pinhole
or 1 fisheye; `image_sizes` Nx2; `Rs` Nx3x3 and `Ts` Nx3, from the world (camera 0, in OpenCV's own) to each camera.
Read as well is that of OpenCV's stereo sample (samples/cpp/stereo_calib.cpp): `M1 D1 M2 D2` and `R T`, from camera 1 to
camera 2, in one file or in `intrinsics.yml` beside `extrinsics.yml`; it has no image size.

Lengths have the unit of the board's square. Written are metres, told in the entry `unit`.
"""

import json
import re
from pathlib import Path

import cv2
import numpy as np

from calibration.camera import Camera
from calibration.errors import UserError
from calibration.formats.parts import (
    EXTRAS_KEY,
    CameraExtras,
    RigExtras,
    camera_extras,
    decode_extras,
    make_camera,
    make_rig,
    pinhole,
    rig_extras,
    unit_m,
    warn_left_out,
)
from calibration.rig import CalibrationRecord, Rig, RigCamera
from calibration.rotations import make_transform
from calibration.yamlfile import write_atomic

ENDINGS = (".yml", ".yaml", ".xml", ".json")
_PINHOLE, _FISHEYE = 0, 1
_STEREO_KEYS = ("M1", "D1", "M2", "D2", "R", "T")
_OWN_KEYS = {"cam_ids", "Ks", "distortions", "models", "image_sizes", "Rs", "Ts", "unit", EXTRAS_KEY, *_STEREO_KEYS}
_LONGEST_STRING = 600  # FileStorage takes 4096 bytes, escapes counted, which are up to six a character.


def read(path: Path, unit_mm: float | None = None, image_size: tuple[int, int] | None = None) -> Rig:
    """Read either layout.

    `unit_mm` is the length of one unit of the translations, `image_size` (width, height) that of every image; both only
    where the file does not tell. Raises UserError.
    """
    storage = _open(path)
    keys = set(storage.root().keys())
    unit = _string(path, storage.getNode("unit")) if "unit" in keys else None
    if {"Ks", "Rs", "Ts"} <= keys:
        length_m = unit_m(unit, unit_mm, path, "unit")
        cameras, extras = _read_multiview(path, storage, length_m)
        warn_left_out(path, sorted(keys - _OWN_KEYS))
        return make_rig(path, cameras, extras, CalibrationRecord(tool="OpenCV"))
    if keys & set(_STEREO_KEYS):
        length_m = unit_m(unit, unit_mm, path, "unit")
        cameras = _read_stereo(path, storage, length_m, image_size)
        return make_rig(path, cameras, RigExtras(), CalibrationRecord(tool="OpenCV"))
    raise UserError(
        f"{path}: neither `Ks`, `Rs` and `Ts` of OpenCV's multi-camera calibration nor `M1 D1 M2 D2 R T` of its stereo "
        f"sample; the entries are {', '.join(sorted(keys)) or 'none'}. Give such a file."
    )


def _open(path: Path) -> cv2.FileStorage:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Give the path of an existing calibration.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        opened = storage.isOpened() and storage.root().isMap()
    except (cv2.error, SystemError):
        opened = False
    if not opened:
        raise UserError(
            f"{path}: OpenCV's FileStorage cannot read it. Write it again with OpenCV, as YAML, XML or JSON."
        )
    return storage


def _array(path: Path, storage: cv2.FileStorage, key: str) -> np.ndarray:
    try:
        matrix = storage.getNode(key).mat()
    except cv2.error:
        matrix = None
    if matrix is None:
        raise UserError(f"{path}: no matrix `{key}`. Write the file again with OpenCV.")
    return np.asarray(matrix, dtype=np.float64)


def _shaped(path: Path, storage: cv2.FileStorage, key: str, *shape: int) -> np.ndarray:
    values = _array(path, storage, key)
    if values.size != np.prod(shape):
        raise UserError(f"{path}: `{key}` must be {'x'.join(map(str, shape))}; got {'x'.join(map(str, values.shape))}.")
    return values.reshape(shape)


def _read_multiview(path: Path, storage: cv2.FileStorage, length_m: float) -> tuple[list[RigCamera], RigExtras]:
    count = len(_array(path, storage, "Ks"))
    Ks, Rs = _shaped(path, storage, "Ks", count, 3, 3), _array(path, storage, "Rs")
    # OpenCV's first versions kept Rodrigues vectors.
    if Rs.size == count * 3:
        Rs = np.array([cv2.Rodrigues(rotation)[0] for rotation in Rs.reshape(count, 3)])
    else:
        Rs = _shaped(path, storage, "Rs", count, 3, 3)
    Ts = _shaped(path, storage, "Ts", count, 3) * length_m
    sizes = _shaped(path, storage, "image_sizes", count, 2).astype(int)
    models = _shaped(path, storage, "models", count).astype(int)
    ids = [name.strip() for name in _string(path, storage.getNode("cam_ids")).split(",")]
    if len(ids) != count:
        raise UserError(f"{path}: `cam_ids` names {len(ids)} cameras; `Ks` has {count}. Correct the names.")
    rows = _split(path, _array(path, storage, "distortions").reshape(-1), models)
    notes = storage.getNode(EXTRAS_KEY)
    cameras = []
    for index in range(count):
        place = f"{path}: camera `{ids[index]}`"
        width, height = sizes[index].tolist()
        try:
            if models[index] == _FISHEYE:
                lens = Camera(width=width, height=height, lens="fisheye4", matrix=Ks[index], distortion=rows[index])
            else:
                lens = pinhole(width, height, Ks[index], rows[index])
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        extras = decode_extras(_note(path, notes, f"camera_{index}"), CameraExtras, place)
        cameras.append(make_camera(place, ids[index], lens, make_transform(Rs[index], Ts[index]), extras))
    return cameras, decode_extras(_note(path, notes, "rig"), RigExtras, str(path))


def _split(path: Path, row: np.ndarray, models: np.ndarray) -> list[np.ndarray]:
    """The coefficients of each camera from those of all: four of a fisheye, equally many of each pinhole."""
    if not np.isin(models, (_PINHOLE, _FISHEYE)).all():
        raise UserError(
            f"{path}: `models` must be {_PINHOLE} (pinhole) or {_FISHEYE} (fisheye); got {models.tolist()}."
        )
    fisheyes = int((models == _FISHEYE).sum())
    pinholes = len(models) - fisheyes
    each, rest = divmod(len(row) - 4 * fisheyes, max(pinholes, 1))
    if rest or each < 0:
        raise UserError(
            f"{path}: {len(row)} `distortions` cannot be shared by {pinholes} pinholes and {fisheyes} fisheyes."
        )
    ends = np.cumsum(np.where(models == _FISHEYE, 4, each))
    return np.split(row, ends[:-1])


def _string(path: Path, node: cv2.FileNode) -> str:
    try:
        return node.string()
    except (cv2.error, UnicodeDecodeError, SystemError):
        raise UserError(f"{path}: expected text in `unit`, `cam_ids` and `usthand`. Correct them.") from None


def _note(path: Path, notes: cv2.FileNode, key: str) -> str | None:
    if not notes.isMap() or key not in notes.keys():  # noqa: SIM118 (a FileNode cannot be iterated)
        return None
    node = notes.getNode(key)
    # XML does not tell a list of one from its only item.
    nodes = [node.at(index) for index in range(node.size())] if node.isSeq() else [node]
    return "".join(_string(path, piece)[1:-1] for piece in nodes)


def _read_stereo(
    path: Path, storage: cv2.FileStorage, length_m: float, image_size: tuple[int, int] | None
) -> list[RigCamera]:
    found = {key: storage for key in _STEREO_KEYS if key in set(storage.root().keys())}
    other = {"intrinsics": "extrinsics", "extrinsics": "intrinsics"}.get(path.stem)
    if other and (path.with_stem(other)).is_file():
        beside = _open(path.with_stem(other))
        found |= {key: beside for key in _STEREO_KEYS if key in set(beside.root().keys())}
    missing = [key for key in _STEREO_KEYS if key not in found]
    if missing:
        raise UserError(
            f"{path}: no `{'`, `'.join(missing)}`. Put intrinsics.yml and extrinsics.yml of OpenCV's stereo sample "
            "into one directory, and give one of them."
        )
    if image_size is None:
        raise UserError(f"{path}: OpenCV's stereo sample keeps no image size. Say it: `--image-size 1280x720`.")
    T_2_1 = make_transform(_shaped(path, found["R"], "R", 3, 3), _shaped(path, found["T"], "T", 3) * length_m)
    cameras = []
    for number, T_cam_world in ((1, np.eye(4)), (2, T_2_1)):
        place = f"{path}: camera {number}"
        matrix = _shaped(path, found[f"M{number}"], f"M{number}", 3, 3)
        try:
            lens = pinhole(*image_size, matrix, _array(path, found[f"D{number}"], f"D{number}").reshape(-1))
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        cameras.append(make_camera(place, f"cam_{number}", lens, T_cam_world, CameraExtras()))
    return cameras


def write(path: Path, rig: Rig) -> None:
    """Write YAML, XML or JSON by the ending of `path`. Raises UserError for another ending."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: OpenCV writes {', '.join(ENDINGS)}. Give a name with such an ending.")
    storage = cv2.FileStorage(path.suffix.lower(), cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    cameras = rig.cameras
    lenses = [camera.camera for camera in cameras]
    nameable = [_plain(camera.camera_id) for camera in cameras]
    ids = [
        camera.camera_id if fits else f"cam_{n}" for n, (camera, fits) in enumerate(zip(cameras, nameable, strict=True))
    ]
    # The row of coefficients gives every pinhole the same number.
    each = 8 if any(lens.lens == "pinhole8" for lens in lenses) else 5
    rows = [
        lens.distortion
        if lens.lens == "fisheye4"
        else np.append(lens.distortion, np.zeros(each - len(lens.distortion)))
        for lens in lenses
    ]
    storage.write("cam_ids", ",".join(ids))
    storage.write("unit", "m")
    storage.write("Ks", np.array([lens.matrix for lens in lenses]))
    storage.write("distortions", np.concatenate(rows))
    storage.write("models", np.array([_FISHEYE if lens.lens == "fisheye4" else _PINHOLE for lens in lenses], np.int32))
    storage.write("image_sizes", np.array([[lens.width, lens.height] for lens in lenses], np.int32))
    storage.write("Rs", np.array([camera.T_cam_world[:3, :3] for camera in cameras]))
    storage.write("Ts", np.array([camera.T_cam_world[:3, 3] for camera in cameras]))
    notes = {"rig": rig_extras(rig)}
    for index, camera in enumerate(cameras):
        notes[f"camera_{index}"] = camera_extras(
            camera,
            id=None if nameable[index] else camera.camera_id,
            lens="pinhole5" if each == 8 and camera.camera.lens == "pinhole5" else None,
        )
    storage.startWriteStruct(EXTRAS_KEY, cv2.FileNode_MAP)
    for key, text in notes.items():
        if text:
            _write_note(storage, key, text)
    storage.endWriteStruct()
    write_atomic(path, storage.releaseAndGetString().encode())


def _write_note(storage: cv2.FileStorage, key: str, text: str) -> None:
    """Write JSON in ASCII pieces between bars: FileStorage garbles quotes and blanks at the ends of a string."""
    text = json.dumps(json.loads(text))
    storage.startWriteStruct(key, cv2.FileNode_SEQ)
    for start in range(0, len(text), _LONGEST_STRING):
        storage.write("", f"|{text[start : start + _LONGEST_STRING]}|")
    storage.endWriteStruct()


def _plain(camera_id: str) -> bool:
    """Whether an id survives in `cam_ids`."""
    return re.fullmatch(r"[\w.+-]+( [\w.+-]+)*", camera_id, re.ASCII) is not None
