"""Rigs in this and other programs' files: reading, writing, and telling one format from another."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from calibration.errors import UserError
from calibration.formats import anipose, caliscope, colmap, kalibr, opencv, pose2sim
from calibration.formats.toml_tables import read_toml
from calibration.rig import Rig, read_rig, write_rig


@dataclass(frozen=True, kw_only=True)
class RigFormat:
    """One program's format: what it is called, how files of it are usually named, and how one is read and written."""

    title: str
    usual_name: str
    read: Callable[..., Rig]
    write: Callable[[Path, Rig], None]
    takes_unit: bool = True
    takes_image_size: bool = False


FORMATS: dict[str, RigFormat] = {
    "usthand": RigFormat(
        title="this program's rig.yaml", usual_name="rig.yaml", read=read_rig, write=write_rig, takes_unit=False
    ),
    "caliscope": RigFormat(
        title="caliscope", usual_name=caliscope.FILE_NAME, read=caliscope.read, write=caliscope.write
    ),
    "anipose": RigFormat(
        title="aniposelib and FreeMoCap", usual_name="calibration.toml", read=anipose.read, write=anipose.write
    ),
    "pose2sim": RigFormat(title="Pose2Sim", usual_name="Calib.toml", read=pose2sim.read, write=pose2sim.write),
    "opencv": RigFormat(
        title="OpenCV's FileStorage",
        usual_name="cameras.yml",
        read=opencv.read,
        write=opencv.write,
        takes_image_size=True,
    ),
    "kalibr": RigFormat(title="Kalibr camera chain", usual_name="camchain.yaml", read=kalibr.read, write=kalibr.write),
    "colmap": RigFormat(
        title="COLMAP model as text (a directory)", usual_name="sparse/", read=colmap.read, write=colmap.write
    ),
}


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
    known = _format(name)
    options: dict[str, object] = {}
    if unit_mm is not None:
        if not known.takes_unit:
            raise UserError(f"{path}: is in metres, so `--unit-mm` cannot go with it. Leave it out.")
        options["unit_mm"] = unit_mm
    if image_size is not None:
        if not known.takes_image_size:
            raise UserError(f"{path}: {known.title} holds the size of images, so leave `--image-size` out.")
        options["image_size"] = image_size
    if path.is_dir() and name == "caliscope":
        path = path / known.usual_name
    return known.read(path, **options)


def write_any(path: Path, rig: Rig, format: str | None = None) -> None:
    """Write a rig; its format goes by the name of the file where `format`, a key of FORMATS, is not given.

    What a format has no place for is kept in entries that its own program passes over. Raises UserError where the name
    does not tell the format, and for a lens that the format cannot hold.
    """
    path = Path(path)
    name = format or format_of_name(path)
    if path.is_dir() and name != "colmap":
        raise UserError(
            f"{path}: is a directory. Give the name of a file, such as `{path / _format(name).usual_name}`."
        )
    _format(name).write(path, rig)


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
    if path.name in ("cameras.txt", "images.txt", "points3D.txt"):
        return "colmap"
    return _text_format(path)


def _directory_format(path: Path) -> str:
    for name, file in (("usthand", "rig.yaml"), ("colmap", "images.txt"), ("caliscope", caliscope.FILE_NAME)):
        if (path / file).is_file():
            return name
    if (path / "images.bin").is_file():
        raise UserError(f"{path}: a binary COLMAP model. Make it text: `colmap model_converter --output_type TXT`.")
    raise UserError(f"{path}: no rig.yaml, no COLMAP model as text (images.txt) and no {caliscope.FILE_NAME} in it.")


def _text_format(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}). {_known()}") from None
    # Other YAML programs do not take `%YAML:1.0`, by which FileStorage begins its files.
    if text.startswith("%YAML:") or "<opencv_storage>" in text[:200] or path.suffix.lower() == ".json":
        return "opencv"
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if isinstance(content, dict):
        if "cameras" in content:
            return "usthand"
        if "cam0" in content:
            return "kalibr"
    raise UserError(f"{path}: not a calibration in any known format. {_known()}")


def _toml_format(path: Path) -> str:
    content = read_toml(path)
    if isinstance(content.get("cameras"), dict):
        return "caliscope"
    tables = anipose.camera_tables(content)
    if not tables:
        raise UserError(f"{path}: no table of a camera. {_known()}")
    metadata = anipose.metadata_table(content, path)
    # Pose2Sim's is aniposelib's with tables named as their cameras and sizes in floating point; it is always in metres.
    like_pose2sim = all(
        table.get("name") == key
        and "fisheye" in table
        and any(isinstance(value, float) for value in _listed(table.get("size")))
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
            f"{path}: caliscope, aniposelib and Pose2Sim all end in .toml. Say which: `--to caliscope`, "
            "`--to anipose` or `--to pose2sim`."
        )
    if ending == ".yaml":
        return "kalibr" if "camchain" in name else "usthand"
    if ending in opencv.ENDINGS:
        return "opencv"
    raise UserError(f"{path}: no format of rigs ends in `{ending}`. {_known()}")


def _known() -> str:
    named = ", ".join(f"{name} ({known.usual_name})" for name, known in FORMATS.items())
    return f"Known formats: {named}. Name one with `--from` or `--to`."
