"""COLMAP's sparse model in binary: `cameras.bin` and `images.bin`, little-endian.

https://colmap.github.io/format.html. `cameras.bin`: a uint64 count; of each camera uint32 id, int32 model, uint64 width
and height, its parameters as doubles.
`images.bin`: a uint64 count; of each image uint32 id, doubles qw qx qy qz tx ty tz, uint32 camera, a name that ends in
0, and a uint64 count of points, each two doubles and an int64.
"""

import struct
from pathlib import Path

import numpy as np

from calibration.errors import UserError
from calibration.formats.colmap_parts import MODELS, found_lens, found_pose
from calibration.formats.found import FoundCamera
from calibration.found_files import read_found

# By number, src/colmap/sensor/models.h.
_NUMBERED = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE",
)  # fmt: skip
_POINT_BYTES = 24


class _Reader:
    """Values from a file, one after the other."""

    def __init__(self, path: Path) -> None:
        try:
            self.path, self._bytes, self._at = path, read_found(path), 0
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}). Export the model again.") from None

    def take(self, form: str) -> tuple:
        size = struct.calcsize(f"<{form}")
        return struct.unpack(f"<{form}", self._bytes[self._at : self.skip(size)])

    def skip(self, size: int) -> int:
        self._at += size
        if self._at > len(self._bytes):
            raise UserError(f"{self.path}: ends too early. Export the model again.")
        return self._at

    def name(self) -> str:
        end = self._bytes.find(0, self._at)
        if end < 0:
            raise UserError(f"{self.path}: ends within a name. Export the model again.")
        name, self._at = self._bytes[self._at : end], end + 1
        return name.decode(errors="replace")


def read_lenses(path: Path) -> dict[int, FoundCamera]:
    """Cameras without name and pose by their ids. Raises UserError."""
    reader, lenses = _Reader(path), {}
    (count,) = reader.take("Q")
    for _ in range(count):
        lens_id, number, width, height = reader.take("IiQQ")
        model = _NUMBERED[number] if 0 <= number < len(_NUMBERED) else str(number)
        if model not in MODELS:
            raise UserError(
                f"{path}: camera {lens_id}: a rig has no lens of the model {model}; it takes {', '.join(MODELS)}. "
                "Calibrate with such a model."
            )
        parameters = list(reader.take(f"{len(MODELS[model].split())}d"))
        lenses[lens_id] = found_lens(model, width, height, parameters, f"{path}: camera {lens_id}")
    return lenses


def read_images(path: Path) -> tuple[dict[int, tuple[np.ndarray, int, str]], bool]:
    """T_cam_world (4, 4), camera and name by image id; whether there are points. Raises UserError."""
    reader, poses, points = _Reader(path), {}, 0
    (count,) = reader.take("Q")
    for _ in range(count):
        image_id, *numbers, lens_id = reader.take("I7dI")
        name = reader.name()
        (of_image,) = reader.take("Q")
        reader.skip(_POINT_BYTES * of_image)
        poses[image_id] = found_pose(numbers, f"{path}: image {image_id}"), lens_id, name
        points += of_image
    return poses, points > 0
