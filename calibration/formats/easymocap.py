"""EasyMocap's `intri.yml` and `extri.yml` (https://github.com/zju3dv/EasyMocap, easymocap/mytools/camera_utils.py).

FileStorage's YAML in one directory. `names`; in `intri.yml` of each `K_NAME`, `dist_NAME` (OpenCV's order) and, in some
files, `H_NAME` and `W_NAME`; in `extri.yml` `R_NAME` (Rodrigues vector), `Rot_NAME` (3x3) and `T_NAME` in metres, world
to camera.
"""

from pathlib import Path

import cv2
import numpy as np

from calibration.errors import UserError
from calibration.formats import parts
from calibration.formats.file_storage import Storage
from calibration.formats.found import FoundCamera, FoundRig
from calibration.rig import CalibrationRecord
from calibration.rotations import make_transform


def read(path: Path) -> FoundRig:
    """Read the directory or one of its two files; without `extri.yml` there are no poses. Raises UserError."""
    folder = path if path.is_dir() else path.parent
    intri = Storage(path if path.is_file() and path.stem != "extri" else folder / "intri.yml")
    extri = Storage(folder / "extri.yml") if (folder / "extri.yml").is_file() else None
    names = intri.texts("names")
    without = [name for name in names if f"K_{name}" not in intri.keys]
    if len(without) == len(names):
        raise UserError(f"{intri.path}: no `K_{without[0] if without else 'NAME'}` of the cameras in `names`. Add it.")
    return FoundRig(
        path=path,
        cameras=tuple(_camera(name, intri, extri) for name in names if name not in without),
        record=CalibrationRecord(tool="EasyMocap"),
        left_out=tuple(f"camera {name}, which has no K_{name}" for name in without),
    )


def _camera(name: str, intri: Storage, extri: Storage | None) -> FoundCamera:
    sizes = [f"W_{name}", f"H_{name}"]
    known = all(key in intri.keys for key in sizes)
    dist = next((key for key in (f"dist_{name}", f"D_{name}") if key in intri.keys), None)
    return FoundCamera(
        place=f"{intri.path}: camera `{name}`",
        names=(name,),
        image_size=parts.image_size((intri.shaped(key) for key in sizes), str(intri.path)) if known else None,
        matrix=intri.shaped(f"K_{name}", 3, 3),
        distortion=intri.array(dist).reshape(-1) if dist else np.zeros(0),
        T_cam_world=None if extri is None else _pose(name, extri),
        no_pose=f"no `R_{name}` and `T_{name}` in an extri.yml beside it.",
    )


def _pose(name: str, extri: Storage) -> np.ndarray | None:
    if f"T_{name}" not in extri.keys or not extri.keys & {f"R_{name}", f"Rot_{name}"}:
        return None
    # The vector is read first, as EasyMocap does: both have six decimals, and only a vector is a rotation with them.
    if f"R_{name}" in extri.keys:
        rotation = cv2.Rodrigues(extri.shaped(f"R_{name}", 3))[0]
    else:
        rotation = extri.shaped(f"Rot_{name}", 3, 3)
    return make_transform(rotation, extri.shaped(f"T_{name}", 3))
