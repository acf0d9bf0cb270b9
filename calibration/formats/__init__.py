"""Rigs in this and other programs' files: reading, writing, and telling one format from another."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from calibration.camera import Camera
from calibration.camera_names import match_cameras
from calibration.errors import UserError
from calibration.formats import (
    anipose,
    caliscope,
    camera_info,
    colmap,
    easymocap,
    json_rigs,
    kalibr,
    mrcal,
    opencv,
    pose2sim,
)
from calibration.formats.file_storage import parse_yaml, read_text
from calibration.formats.found import FoundRig, check_can_be_read
from calibration.formats.toml_tables import read_toml
from calibration.rig import Rig, read_rig, read_rig_lenses, write_rig


@dataclass(frozen=True, kw_only=True)
class RigFormat:
    """One program's format: what it is called, how files of it are usually named, and how one is read and written.

    `read` is None for this program's own; `write` is None for formats that are only read.
    """

    title: str
    usual_name: str
    read: Callable[[Path], FoundRig] | None
    write: Callable[[Path, Rig], None] | None = None


FORMATS: dict[str, RigFormat] = {
    "usthand": RigFormat(title="this program's rig.yaml", usual_name="rig.yaml", read=None, write=write_rig),
    "caliscope": RigFormat(
        title="caliscope", usual_name=caliscope.FILE_NAME, read=caliscope.read, write=caliscope.write
    ),
    "anipose": RigFormat(
        title="aniposelib and FreeMoCap", usual_name="calibration.toml", read=anipose.read, write=anipose.write
    ),
    "pose2sim": RigFormat(title="Pose2Sim", usual_name="Calib.toml", read=pose2sim.read, write=pose2sim.write),
    "opencv": RigFormat(title="OpenCV's FileStorage", usual_name="cameras.yml", read=opencv.read, write=opencv.write),
    "kalibr": RigFormat(
        title="Kalibr camera chain, OpenVINS", usual_name="camchain.yaml", read=kalibr.read, write=kalibr.write
    ),
    "colmap": RigFormat(title="COLMAP model (a directory)", usual_name="sparse/", read=colmap.read, write=colmap.write),
    "easymocap": RigFormat(title="EasyMocap (read only)", usual_name="intri.yml", read=easymocap.read),
    "camera_info": RigFormat(title="ROS's camera_info (read only)", usual_name="left.yaml", read=camera_info.read),
    "basalt": RigFormat(title="Basalt (read only)", usual_name="calibration.json", read=json_rigs.read_basalt),
    "multical": RigFormat(title="multical (read only)", usual_name="calibration.json", read=json_rigs.read_multical),
    "mrcal": RigFormat(title="mrcal (read only)", usual_name="camera-0.cameramodel", read=mrcal.read),
}
WRITTEN = tuple(name for name, known in FORMATS.items() if known.write is not None)


def read_any(
    path: Path,
    format: str | None = None,
    *,
    unit_mm: float | None = None,
    image_size: tuple[int, int] | None = None,
) -> Rig:
    """Read a rig; its format is found out from the content where `format`, a key of FORMATS, is not given.

    `unit_mm` is the length of one unit of the translations and `image_size` (width, height) in pixels, for files that
    do not tell them. Raises UserError where the format is not known, or the file is not right.
    """
    path = Path(path)
    name = format or detect_format(path)
    if _format(name).read is not None:
        return read_found_rig(path, name).to_rig(unit_mm, image_size)
    for given, flag in ((unit_mm, "--unit-mm"), (image_size, "--image-size")):
        if given is not None:
            raise UserError(f"{path}: is in metres and holds the size of images, so leave `{flag}` out.")
    return read_rig(path)


def read_found_rig(path: Path, format: str | None = None) -> FoundRig:
    """Read another program's file for all that it has, which may be less than a rig. Raises UserError."""
    path = Path(path)
    name = format or detect_format(path)
    read = _format(name).read
    if read is None:
        raise UserError(f"{path}: is a rig.yaml. Give another program's file.")
    return read(path / caliscope.FILE_NAME if path.is_dir() and name == "caliscope" else path)


def read_lenses(path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Camera]:
    """The lenses in a file of any format, for those cameras of `sizes` that it has.

    `sizes` are the cameras' image sizes (width, height). No poses, unit or second camera are needed; a file that keeps
    no image size is taken for these. Raises UserError where the file has no lens of any of the cameras.
    """
    path = Path(path)
    name = detect_format(path)
    if name == "usthand":
        lenses = read_rig_lenses(path)
        ids = tuple(lenses)
        known = {
            camera: lenses[ids[index]] for camera, index in match_cameras([(i,) for i in ids], list(sizes)).items()
        }
    else:
        found = read_found_rig(path, name)
        ids, known = found.ids, found.lenses(sizes)
    if not known:
        raise UserError(
            f"{path}: has lenses of {', '.join(ids) or 'no camera'}, the session has {', '.join(sizes)}. Give lenses "
            "of the session's cameras, under the same ids or with the same numbers in them."
        )
    return known


def write_any(path: Path, rig: Rig, format: str | None = None) -> None:
    """Write a rig; its format goes by the name of the file where `format`, a key of FORMATS, is not given.

    What a format has no place for is kept in entries that its own program passes over. Raises UserError where the name
    does not tell the format, for a format that is only read, and for a rig or lens that the format cannot hold.
    """
    path = Path(path)
    name = format or format_of_name(path)
    if path.is_dir() and name != "colmap":
        raise UserError(
            f"{path}: is a directory. Give the name of a file, such as `{path / _format(name).usual_name}`."
        )
    write = _format(name).write
    if write is None:
        raise UserError(f"{path}: {name} is only read. Write one of {', '.join(WRITTEN)}.")
    check_can_be_read(rig, path)
    write(path, rig)


def _format(name: str) -> RigFormat:
    if name not in FORMATS:
        raise UserError(f"`{name}` is no format of rigs; expected one of {', '.join(FORMATS)}.")
    return FORMATS[name]


def detect_format(path: Path) -> str:
    """Which of FORMATS a file or directory is in, by its content. Raises UserError where it is none."""
    if not path.exists():
        raise UserError(f"{path}: no such file. Give the path of an existing calibration.")
    if path.is_dir():
        return _directory_format(path)
    if path.suffix.lower() == ".toml":
        return _toml_format(path)
    if path.stem in ("cameras", "images", "points3D") and path.suffix in (".txt", ".bin"):
        return "colmap"
    return _text_format(path)


def _directory_format(path: Path) -> str:
    files = (("usthand", "rig.yaml"), ("colmap", "images.txt"), ("colmap", "images.bin"), ("easymocap", "intri.yml"))
    for name, file in (*files, ("caliscope", caliscope.FILE_NAME)):
        if (path / file).is_file():
            return name
    if mrcal.files_in(path):
        return "mrcal"
    if camera_info.files_in(path):
        return "camera_info"
    raise UserError(
        f"{path}: no rig.yaml, no COLMAP model (images.txt, images.bin), no {caliscope.FILE_NAME}, no intri.yml, no "
        f"*{mrcal.ENDING} and no camera_info of ROS in it."
    )


def _text_format(path: Path) -> str:
    if path.suffix.lower() == mrcal.ENDING:
        return "mrcal"
    text = _readable(path)
    if path.suffix.lower() == ".json":
        return json_rigs.format_of_json(text) or "opencv"
    if "<opencv_storage>" in text[:200]:
        return "opencv"
    content = parse_yaml(text)
    if isinstance(content, dict):
        if "cameras" in content:
            return "usthand"
        if "cam0" in content:
            return "kalibr"
        if "names" in content and any(re.match(r"(K|R|Rot|T)_", str(key)) for key in content):
            return "easymocap"
        if not text.startswith("%YAML:") and camera_info.is_camera_info(content):
            return "camera_info"
    # By which FileStorage begins its files; Kalibr's and OpenVINS's may, too.
    if text.startswith("%YAML:"):
        return "opencv"
    raise UserError(f"{path}: not a calibration in any known format. {_known()}")


def _readable(path: Path) -> str:
    try:
        return read_text(path)
    except UserError as error:
        raise UserError(f"{error} {_known()}") from None


def _toml_format(path: Path) -> str:
    content = read_toml(path)
    if isinstance(content.get("cameras"), dict):
        return "caliscope"
    tables = anipose.camera_tables(content)
    if not tables:
        raise UserError(f"{path}: no table of a camera. {_known()}")
    metadata = anipose.metadata_table(content, path)
    # Pose2Sim's is aniposelib's with sizes in floating point and `fisheye` in every table; it is always in metres.
    like_pose2sim = all(
        "fisheye" in table and any(isinstance(value, float) for value in _listed(table.get("size")))
        for key, table in tables.items()
    )
    return "pose2sim" if like_pose2sim and not {"unit", "charuco_square_size"} & set(metadata) else "anipose"


def _listed(value: object) -> list:
    return value if isinstance(value, list) else []


def format_of_name(path: Path) -> str:
    """Which of FORMATS a file to be written is in, by its name. Raises UserError where the name leaves it open."""
    name, ending = path.name.lower(), path.suffix.lower()
    if path.is_dir() or not ending:
        return "colmap"
    if ending == ".toml":
        if name == caliscope.FILE_NAME:
            return "caliscope"
        if name.startswith("calib") and path.stem.lower() != "calibration":
            return "pose2sim"
        if name.endswith("calibration.toml"):
            return "anipose"
        raise UserError(
            f"{path}: caliscope, aniposelib and Pose2Sim all end in .toml. Say which: "
            "`usthand rig convert IN OUT --to caliscope`, or `anipose` or `pose2sim`."
        )
    if ending == ".yaml":
        return "kalibr" if "camchain" in name else "usthand"
    if ending in opencv.ENDINGS:
        return "opencv"
    raise UserError(f"{path}: no format of rigs ends in `{ending}`. {_known()}")


def _known() -> str:
    named = ", ".join(f"{name} ({known.usual_name})" for name, known in FORMATS.items())
    return f"Known formats: {named}. Say which: `usthand rig convert IN OUT --from FORMAT --to FORMAT`."
