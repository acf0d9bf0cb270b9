"""mrcal's `.cameramodel` (https://mrcal.secretsauce.net/cameramodels.html), one camera a file: a dictionary in Python.

`lensmodel`, `intrinsics` (fx fy cx cy, then OpenCV's coefficients), `imagersize`, and `extrinsics` (newer
`rt_cam_ref`): a Rodrigues vector and a translation in metres, from the reference to the camera. A directory of such
files is a rig. Of the lenses, LENSMODEL_PINHOLE and LENSMODEL_OPENCV4 to 12 are read.
"""

import ast
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.errors import UserError
from calibration.formats import parts
from calibration.formats.file_storage import read_text
from calibration.formats.found import FoundCamera, FoundRig
from calibration.formats.parts import intrinsic_matrix
from calibration.rig import CalibrationRecord
from calibration.rotations import make_transform

ENDING = ".cameramodel"
_LENSES = {"LENSMODEL_PINHOLE": 0, **{f"LENSMODEL_OPENCV{count}": count for count in (4, 5, 8, 12)}}


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ENDING and path.is_file())


def read(path: Path) -> FoundRig:
    """Read a file, or all of a directory; a camera goes by the name of its file. Raises UserError."""
    files = files_in(path) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: no {ENDING} in it. Give such a file, or their directory.")
    return FoundRig(path=path, cameras=tuple(map(_camera, files)), record=CalibrationRecord(tool="mrcal"))


def _camera(path: Path) -> FoundCamera:
    try:
        content: dict[str, Any] = ast.literal_eval(read_text(path).strip())
        lens, intrinsics = content["lensmodel"], np.array(content["intrinsics"], dtype=np.float64)
        width, height = content["imagersize"]
        rt_cam_ref = np.array(content.get("rt_cam_ref", content.get("extrinsics")), dtype=np.float64).reshape(6)
    except (
        *(ArithmeticError, AttributeError, LookupError, MemoryError),
        *(RecursionError, SyntaxError, TypeError, ValueError),
    ) as error:
        raise UserError(f"{path}: is not as mrcal writes it ({error!r}). Write it again with mrcal.") from None
    if not isinstance(lens, str) or lens not in _LENSES or intrinsics.shape != (4 + _LENSES[lens],):
        raise UserError(
            f"{path}: a rig has no lens `{lens}` of {intrinsics.size} numbers; it takes {', '.join(_LENSES)}. Make it "
            "one with mrcal-convert-lensmodel."
        )
    return FoundCamera(
        place=f"{path}: its camera",
        names=(path.stem,),
        image_size=parts.image_size((width, height), str(path)),
        matrix=intrinsic_matrix(intrinsics[:4]),
        distortion=intrinsics[4:],
        T_cam_world=make_transform(cv2.Rodrigues(rt_cam_ref[:3])[0], rt_cam_ref[3:]),
    )
