"""Pose2Sim's `Calib.toml` (https://github.com/perfanalytics/pose2sim, Pose2Sim/calibration.py and common.py).

As aniposelib's, but translations are metres, a table is named as its camera (up to version 0.4 cam_1, cam_2, ...),
`size` is in floating point and `fisheye` is always there. Pose2Sim hands `distortions` to OpenCV as they are, so 4
(k1 k2 p1 p2), 5 and 8 coefficients are read right. It never looks at `fisheye` and reads every lens as a pinhole: a
fisheye lens is refused rather than misread.
"""

from pathlib import Path
from typing import Any

from calibration.errors import UserError
from calibration.formats.anipose import result_metadata, rig_from_content
from calibration.formats.found import FoundRig
from calibration.formats.parts import EXTRAS_KEY, camera_extras, rig_extras
from calibration.formats.toml_tables import read_toml, table_from_camera, write_toml
from calibration.rig import Rig


def read(path: Path) -> FoundRig:
    """Read `Calib.toml`. Raises UserError."""
    return rig_from_content(read_toml(path), path, "Pose2Sim")


def write(path: Path, rig: Rig) -> None:
    """Write `Calib.toml`. Raises UserError for a fisheye lens and for a camera named like a table of Pose2Sim's own."""
    tables: dict[str, Any] = {}
    for camera in rig.cameras:
        name, lens = camera.camera_id, camera.camera
        if lens.lens == "fisheye4":
            raise UserError(
                f"{path}: camera `{name}`: Pose2Sim reads every lens as a pinhole, and `lens` is fisheye4. Write "
                "another format, or calibrate the camera as a pinhole."
            )
        if name in ("metadata", "capture_volume", "charuco", "checkerboard", EXTRAS_KEY):
            raise UserError(f"{path}: camera `{name}`: Pose2Sim takes this name for something else. Rename the camera.")
        table = table_from_camera(camera, path)
        table["size"] = [float(lens.width), float(lens.height)]
        if lens.lens == "pinhole5" and lens.distortion[4] == 0:
            table["distortions"] = lens.distortion[:4].tolist()
        tables[name] = {"name": name, **table, "fisheye": False, EXTRAS_KEY: camera_extras(camera)}
    tables["metadata"] = {**result_metadata(rig), EXTRAS_KEY: rig_extras(rig)}
    write_toml(path, tables)
