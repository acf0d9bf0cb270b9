"""COLMAP's sparse model: a directory with `cameras.txt` and `images.txt`; `cameras.bin` and `images.bin` are read too.

https://colmap.github.io/format.html: a line of `cameras.txt` is CAMERA_ID MODEL WIDTH HEIGHT PARAMS; `images.txt` has
two lines an image, IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, world to camera, and its points. COLMAP puts the
centre of the first pixel at (0.5, 0.5), a rig at (0, 0): principal points differ by half a pixel. COLMAP's lengths have
any scale, so a model that is not from here needs one. Every image is a camera of the rig.

What COLMAP does not hold stands in comments of `images.txt`: `# usthand unit m`, `# usthand rig {...}` and
`# usthand image 1 {...}`. COLMAP drops comments when it writes a model again.
"""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.spatial.transform import Rotation

from calibration.errors import UserError
from calibration.formats import colmap_binary
from calibration.formats.colmap_parts import HALF_PIXEL, MODELS, found_lens, found_pose
from calibration.formats.found import FoundCamera, FoundRig
from calibration.formats.parts import (
    EXTRAS_KEY,
    CameraExtras,
    RigExtras,
    camera_extras,
    decode_extras,
    nearest_rotation,
    rig_extras,
)
from calibration.found_files import read_found_text
from calibration.rig import CalibrationRecord, Rig, RigCamera
from calibration.written_files import write_atomic
from calibration.written_together import written_together

_OTHER_FILES = ("cameras.bin", "images.bin", "points3D.bin", "rigs.txt", "frames.txt", "rigs.bin", "frames.bin")


def read(path: Path) -> FoundRig:
    """Read a model from its directory or one of its files; a camera goes by the name of its image without the ending.

    The unit is known only where this program wrote the file. Raises UserError.
    """
    folder = path if path.is_dir() else path.parent
    images = folder / "images.txt"
    notes: dict[str, str] = {}
    if not images.exists() and (folder / "images.bin").exists():
        images = folder / "images.bin"
        lenses, (poses, points) = colmap_binary.read_lenses(folder / "cameras.bin"), colmap_binary.read_images(images)
    else:
        lenses = _read_lenses(folder / "cameras.txt")
        if path.is_file() and not images.exists():
            return FoundRig(path=path, cameras=tuple(_unposed(lenses)), record=CalibrationRecord(tool="COLMAP"))
        poses, notes, points = _read_images(images)
    cameras = []
    for image_id, (T_cam_world, lens_id, name) in sorted(poses.items()):
        place = f"{images}: image {image_id} (`{name}`)"
        if lens_id not in lenses:
            raise UserError(f"{place}: no camera {lens_id} in {folder / images.with_stem('cameras').name}. Add it.")
        names = ("_".join(PurePosixPath(name).with_suffix("").parts), f"image_{image_id}")
        extras = decode_extras(notes.get(f"image {image_id}"), CameraExtras, place)
        cameras.append(replace(lenses[lens_id], place=place, names=names, T_cam_world=T_cam_world, extras=extras))
    return FoundRig(
        path=images,
        cameras=tuple(cameras),
        unit=notes.get("unit"),
        told_by="# usthand unit",
        ask_unit="the unit of its translations is not known; COLMAP's have any scale.",
        extras=decode_extras(notes.get("rig"), RigExtras, str(images)),
        record=CalibrationRecord(tool="COLMAP"),
        left_out=("points of the images",) if points else (),
    )


def _unposed(lenses: dict[int, FoundCamera]) -> list[FoundCamera]:
    """The cameras of a `cameras.txt` alone."""
    return [
        replace(lens, names=(f"camera_{lens_id}",), no_pose="there is no images.txt beside it.")
        for lens_id, lens in lenses.items()
    ]


def _lines(path: Path) -> list[str]:
    try:
        return read_found_text(path).replace("\r\n", "\n").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file. A COLMAP model as text has cameras.txt and images.txt.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Export the model as text.") from None


def _read_lenses(path: Path) -> dict[int, FoundCamera]:
    lenses = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place = f"{path}, line {number}"
        if len(words) < 5 or words[1] not in MODELS:
            raise UserError(
                f"{place}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS with one of the models {', '.join(MODELS)}; "
                f"got `{line.strip()}`. Calibrate with such a model."
            )
        try:
            lens_id, width, height = int(words[0]), int(words[2]), int(words[3])
            lenses[lens_id] = found_lens(words[1], width, height, [float(word) for word in words[4:]], place)
        except ValueError as error:
            raise UserError(f"{place}: {error}. Correct the line.") from None
    return lenses


def _read_images(path: Path) -> tuple[dict[int, tuple[np.ndarray, int, str]], dict[str, str], bool]:
    """Poses, camera and name by image id; the comments of this program by their topic; whether there are points."""
    poses: dict[int, tuple[np.ndarray, int, str]] = {}
    notes: dict[str, str] = {}
    points = False
    lines = iter(enumerate(_lines(path), 1))
    for number, line in lines:
        words = line.split()
        if line.startswith(f"# {EXTRAS_KEY} "):
            # The first blank after the topic starts the value; JSON has none before its brace.
            topic, _, value = line[len(EXTRAS_KEY) + 3 :].partition(" {")
            if value:
                notes[topic] = "{" + value
            else:
                topic, _, notes_value = topic.partition(" ")
                notes[topic] = notes_value
        elif words and not words[0].startswith("#"):
            image_id, pose = _pose(line, f"{path}, line {number}")
            if image_id in poses:
                raise UserError(f"{path}, line {number}: image {image_id} is there twice. Remove one.")
            poses[image_id] = pose
            of_points = next(lines, (number + 1, ""))[1].split()
            if len(of_points) % 3:
                raise UserError(
                    f"{path}, line {number + 1}: expected the points of image {image_id}, three numbers each, or an "
                    "empty line: every image takes two lines."
                )
            points = points or bool(of_points)
    return poses, notes, points


def _pose(line: str, place: str) -> tuple[int, tuple[np.ndarray, int, str]]:
    words = line.split(maxsplit=9)
    try:
        image_id, *numbers = int(words[0]), *map(float, words[1:8])
        lens_id, name = int(words[8]), words[9].strip()
    except (ValueError, IndexError):
        raise UserError(
            f"{place}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME; got `{line.strip()}`. Correct the line."
        ) from None
    return image_id, (found_pose(numbers, place), lens_id, name)


def write(path: Path, rig: Rig) -> None:
    """Write `cameras.txt`, `images.txt` and an empty `points3D.txt` into the directory `path`.

    Image `ID.png` stands for camera ID. Raises UserError where `path` is a file, or holds another model.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; a COLMAP model is a directory. Give another name.")
    others = [name for name in _OTHER_FILES if (path / name).exists()]
    if others:
        raise UserError(
            f"{path}: holds {', '.join(others)} of another model, which COLMAP would mix with this one. Give an empty "
            "directory."
        )
    lenses = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]"]
    images = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of points", f"# {EXTRAS_KEY} unit m"]
    of_rig = rig_extras(rig)
    if of_rig:
        images.append(f"# {EXTRAS_KEY} rig {of_rig}")
    for number, camera in enumerate(rig.cameras, 1):
        lenses.append(f"{number} {_lens_text(camera)}")
        # COLMAP ends a name at the first blank.
        nameable = not any(char.isspace() for char in camera.camera_id)
        name = camera.camera_id if nameable else f"camera_{number}"
        lens = camera.camera
        rational_zero = lens.lens == "pinhole8" and not lens.distortion[5:].any()
        extras = camera_extras(
            camera, id=None if nameable else camera.camera_id, lens="pinhole8" if rational_zero else None
        )
        if extras:
            images.append(f"# {EXTRAS_KEY} image {number} {extras}")
        quaternion = np.roll(Rotation.from_matrix(nearest_rotation(camera, path)).as_quat(), 1)
        numbers = [*quaternion.tolist(), *camera.T_cam_world[:3, 3].tolist()]
        images += [f"{number} {' '.join(map(repr, numbers))} {number} {name}.png", ""]
    with written_together(path) as folder:
        write_atomic(folder / "cameras.txt", _text(lenses))
        write_atomic(folder / "images.txt", _text(images))
        write_atomic(folder / "points3D.txt", b"# POINT3D_ID X Y Z R G B ERROR TRACK[]\n")


def _lens_text(camera: RigCamera) -> str:
    lens = camera.camera
    fx, fy, cx, cy = lens.matrix[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    coefficients = lens.distortion.tolist()
    if lens.lens == "fisheye4":
        model = "OPENCV_FISHEYE"
    elif any(coefficients[4:]):
        model, coefficients = "FULL_OPENCV", (coefficients + [0.0] * 3)[:8]
    else:
        model, coefficients = "OPENCV", coefficients[:4]
    numbers = [fx, fy, cx + HALF_PIXEL, cy + HALF_PIXEL, *coefficients]
    return f"{model} {lens.width} {lens.height} {' '.join(map(repr, numbers))}"


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
