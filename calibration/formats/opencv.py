"""Cameras in OpenCV's own files (cv2.FileStorage): YAML, XML and JSON.

Written is the layout of OpenCV's multi-camera calibration (apps/python-calibration/multiview_calibration.py of
OpenCV 5): `cam_ids`, joined by commas; `Ks` Nx3x3; `distortions`, those of all cameras in one row; `models`, 0 pinhole
or 1 fisheye; `image_sizes` Nx2; `Rs` Nx3x3 and `Ts` Nx3, from the world (camera 0, in OpenCV's own) to each camera.
Read as well is that of OpenCV's stereo sample (samples/cpp/stereo_calib.cpp): `M1 D1 M2 D2` and `R T`, from camera 1 to
camera 2, in one file or in `intrinsics.yml` beside `extrinsics.yml`; it has no image size. Scripts that follow it write
`K1 K2`. Of the sample for one camera there are `camera_matrix` and `distortion_coefficients`: a lens, no rig.

Lengths have the unit of the board's square. Written are metres, told in the entry `unit`.
"""

import json
import re
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import UserError
from calibration.formats import parts
from calibration.formats.file_storage import Storage
from calibration.formats.found import FoundCamera, FoundRig
from calibration.formats.parts import (
    EXTRAS_KEY,
    CameraExtras,
    RigExtras,
    camera_extras,
    decode_extras,
    rig_extras,
)
from calibration.rig import CalibrationRecord, Rig
from calibration.rotations import make_transform
from calibration.written_files import write_atomic

ENDINGS = (".yml", ".yaml", ".xml", ".json")
_PINHOLE, _FISHEYE = 0, 1
_OWN_KEYS = {"cam_ids", "Ks", "distortions", "models", "image_sizes", "Rs", "Ts", "unit", EXTRAS_KEY}
# As the sample has them, and as scripts that follow it do.
_MATRIX_NAMES = ("M{}", "K{}", "cameraMatrix{}", "camera_matrix_{}")
_DISTORTION_NAMES = ("D{}", "distCoeffs{}", "dist_coeffs_{}", "dist{}")
_LONGEST_STRING = 600  # FileStorage takes 4096 bytes, escapes counted, which are up to six a character.


def read(path: Path) -> FoundRig:
    """Read any of these layouts. Raises UserError."""
    storage = Storage(path)
    keys = storage.keys
    extras = RigExtras()
    if {"Ks", "Rs", "Ts"} <= keys:
        cameras, extras = _read_multiview(storage)
        left_out = sorted(keys - _OWN_KEYS)
    elif _stereo_keys(storage):
        cameras, left_out = _read_stereo(storage), []
    elif _key(storage, "camera_matrix"):
        cameras, left_out = [_read_single(storage)], []
    else:
        raise UserError(
            f"{path}: neither `Ks`, `Rs` and `Ts` of OpenCV's multi-camera calibration nor `M1 D1 M2 D2 R T` of its "
            "stereo sample (or `K1 K2`) nor the `camera_matrix` of one camera; the entries are "
            f"{', '.join(sorted(keys)) or 'none'}. Give such a file."
        )
    return FoundRig(
        path=path,
        cameras=tuple(cameras),
        unit=storage.text(storage.node("unit")) if "unit" in keys else None,
        extras=extras,
        record=CalibrationRecord(tool="OpenCV"),
        left_out=tuple(left_out),
    )


def _read_multiview(storage: Storage) -> tuple[list[FoundCamera], RigExtras]:
    path = storage.path
    count = len(storage.array("Ks"))
    Ks, Rs = storage.shaped("Ks", count, 3, 3), storage.array("Rs")
    # OpenCV's first versions kept Rodrigues vectors.
    if Rs.size == count * 3:
        Rs = np.array([cv2.Rodrigues(rotation)[0] for rotation in Rs.reshape(count, 3)])
    else:
        Rs = storage.shaped("Rs", count, 3, 3)
    Ts = storage.shaped("Ts", count, 3)
    sizes = storage.shaped("image_sizes", count, 2)
    models = storage.shaped("models", count)
    ids = [name.strip() for name in storage.text(storage.node("cam_ids")).split(",")]
    if len(ids) != count:
        raise UserError(f"{path}: `cam_ids` names {len(ids)} cameras; `Ks` has {count}. Correct the names.")
    rows = _split(path, storage.array("distortions").reshape(-1), models)
    cameras = []
    for index in range(count):
        place = f"{path}: camera `{ids[index]}`"
        cameras.append(
            FoundCamera(
                place=place,
                names=(ids[index],),
                image_size=parts.image_size(sizes[index], place),
                matrix=Ks[index],
                distortion=rows[index],
                fisheye=models[index] == _FISHEYE,
                T_cam_world=make_transform(Rs[index], Ts[index]),
                extras=decode_extras(_note(storage, f"camera_{index}"), CameraExtras, place),
            )
        )
    return cameras, decode_extras(_note(storage, "rig"), RigExtras, str(path))


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


def _note(storage: Storage, key: str) -> str | None:
    notes = storage.node(EXTRAS_KEY)
    if not notes.isMap() or key not in notes.keys():  # noqa: SIM118 (a FileNode cannot be iterated)
        return None
    node = notes.getNode(key)
    # XML does not tell a list of one from its only item.
    nodes = [node.at(index) for index in range(node.size())] if node.isSeq() else [node]
    return "".join(storage.text(piece)[1:-1] for piece in nodes)


def _stereo_keys(storage: Storage) -> dict[str, str]:
    """The entries of a stereo calibration, under the names that programs have for them, by the sample's own."""
    found = {
        own: name.format(number)
        for number in (1, 2)
        for own, names in ((f"M{number}", _MATRIX_NAMES), (f"D{number}", _DISTORTION_NAMES))
        for name in names
        if name.format(number) in storage.keys
    }
    return found | ({key: key for key in ("R", "T") if key in storage.keys})


def _read_stereo(storage: Storage) -> list[FoundCamera]:
    path = storage.path
    found = {key: (storage, name) for key, name in _stereo_keys(storage).items()}
    other = {"intrinsics": "extrinsics", "extrinsics": "intrinsics"}.get(path.stem)
    if other and (path.with_stem(other)).is_file():
        beside = Storage(path.with_stem(other))
        found |= {key: (beside, name) for key, name in _stereo_keys(beside).items()}
    missing = [key for key in ("M1", "D1", "M2", "D2") if key not in found]
    if missing:
        raise UserError(
            f"{path}: no `{'`, `'.join(missing)}`. Put intrinsics.yml and extrinsics.yml of OpenCV's stereo sample "
            "into one directory, and give one of them."
        )
    T_2_1 = None
    if {"R", "T"} <= set(found):
        R, T = (file.shaped(name, *shape) for (file, name), shape in ((found["R"], (3, 3)), (found["T"], (3,))))
        T_2_1 = make_transform(R, T)
    cameras = []
    for number, T_cam_world in ((1, np.eye(4)), (2, T_2_1)):
        (in_file, matrix), (_, distortion) = found[f"M{number}"], found[f"D{number}"]
        cameras.append(
            FoundCamera(
                place=f"{path}: camera {number}",
                names=(f"cam_{number}",),
                image_size=in_file.image_size(),
                matrix=in_file.shaped(matrix, 3, 3),
                distortion=in_file.array(distortion).reshape(-1),
                T_cam_world=T_cam_world,
                no_pose="no `R` and `T` of the stereo sample's extrinsics.yml.",
            )
        )
    return cameras


def _key(storage: Storage, name: str) -> str | None:
    return next((key for key in storage.keys if key.lower() == name), None)


def _read_single(storage: Storage) -> FoundCamera:
    """The one camera of OpenCV's calibration sample, samples/cpp/tutorial_code/calib3d/camera_calibration."""
    matrix, distortion, fisheye, name = (
        _key(storage, name) for name in ("camera_matrix", "distortion_coefficients", "fisheye_model", "camera_name")
    )
    return FoundCamera(
        place=f"{storage.path}: its camera",
        names=(storage.text(storage.node(name)) if name else storage.path.stem,),
        image_size=storage.image_size(),
        matrix=storage.shaped(str(matrix), 3, 3),
        distortion=storage.array(distortion).reshape(-1) if distortion else np.zeros(0),
        fisheye=bool(fisheye and storage.array(fisheye).any()),
    )


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
