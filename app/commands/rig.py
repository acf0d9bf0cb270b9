"""`usthand rig`: what a calibration says, and calibrations from and for other programs."""

import argparse
import json
import math
import re
from itertools import combinations
from pathlib import Path

import numpy as np

from app.commands.common import add_command, check_output, positive
from calibration.errors import UserError
from calibration.formats import FORMATS, WRITTEN, format_of_name, read_any, write_any
from calibration.report.rig_coverage import write_rig_picture
from calibration.rig import Rig, RigCamera
from calibration.rig_backup import keep_backup

_COLMAP_FILES = ("cameras.txt", "images.txt", "points3D.txt")
_FORMATS_HELP = "formats:\n" + "\n".join(f"  {name:10} {known.title}" for name, known in FORMATS.items())


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("rig", help="show a calibration, or convert it from and to other programs' formats")
    parser.description = "Show a calibration, or convert it from and to other programs' formats."
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    show = add_command(
        actions,
        "show",
        run_show,
        "print cameras, lenses, positions, distances and errors of a calibration in any known format",
        f"  usthand rig show rig.yaml\n  usthand rig show camera_array.toml --json\n\n{_FORMATS_HELP}",
    )
    show.add_argument("rig", type=Path, metavar="RIG", help="the calibration")
    show.add_argument(
        "--picture", type=Path, metavar="OUT.png", help="draw where the cameras stand, and how many see each place"
    )
    _add_reading_flags(show)

    convert = add_command(
        actions,
        "convert",
        run_convert,
        "convert a calibration between rig.yaml and other programs' formats",
        "  usthand rig convert camera_array.toml rig.yaml\n"
        "  usthand rig convert calibration.toml rig.yaml --unit-mm 1\n"
        f"  usthand rig convert rig.yaml sparse/ --to colmap\n\n{_FORMATS_HELP}",
    )
    convert.add_argument("rig", type=Path, metavar="IN", help="the calibration to read")
    convert.add_argument("out", type=Path, metavar="OUT", help="the file, or for COLMAP the directory, to write")
    _add_reading_flags(convert)
    convert.add_argument(
        "--to", choices=WRITTEN, metavar="FORMAT", help="the format of OUT, where its name does not tell"
    )


def _add_reading_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="from_format",
        choices=FORMATS,
        metavar="FORMAT",
        help="the format of the calibration, where its content does not tell",
    )
    parser.add_argument(
        "--unit-mm", type=positive, metavar="N", help="millimetres in one unit of its lengths, where it does not tell"
    )
    parser.add_argument(
        "--image-size", type=_image_size, metavar="WxH", help="size of the images, where it does not tell"
    )


def _image_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text} is not a size; expected one like 1280x720")
    return int(match[1]), int(match[2])


def _read(args: argparse.Namespace) -> Rig:
    return read_any(args.rig, args.from_format, unit_mm=args.unit_mm, image_size=args.image_size)


def run_show(args: argparse.Namespace) -> int:
    rig = _read(args)
    summary = _summary(args.rig, rig)
    _print_table(summary)
    if args.picture is not None:
        check_output(args.picture, ".png")
        write_rig_picture(args.picture, rig)
    if args.json:
        print(json.dumps(summary))
    return 0


def run_convert(args: argparse.Namespace) -> int:
    rig = _read(args)
    if args.out.exists() and args.out.resolve() == args.rig.resolve():
        raise UserError(f"{args.out}: is the calibration that is read. Give another name to write.")
    backups = _write_keeping(args.out, rig, args.to)
    print(f"{args.out}: {len(rig.cameras)} cameras written ({', '.join(rig.camera_ids)})")
    if backups:
        print(f"before: {', '.join(map(str, backups))}")
    notes = _notes(rig) if (args.to or format_of_name(args.out)) != "usthand" else []
    for note in notes:
        print(f"note: {note}")
    if args.json:
        summary = {"rig": str(args.out), "rig_before": [str(backup) for backup in backups], "notes": notes}
        print(json.dumps(summary | {"rig_id": rig.rig_id, "cameras": list(rig.camera_ids)}))
    return 0


def _notes(rig: Rig) -> list[str]:
    """What other programs must do with the images to go with the numbers."""
    return [
        f"{camera.camera_id}: the numbers are of upright images (`{camera.turn}`), which other programs do not make of "
        f"its videos by themselves; `ffmpeg -i IN -vf {camera.turn.ffmpeg_filter} OUT` does"
        for camera in rig.cameras
        if camera.turn
    ]


def _write_keeping(path: Path, rig: Rig, format: str | None) -> list[Path]:
    """Write a rig; files that are replaced are kept beside it. Returns the copies' paths, none where it is refused."""
    replaced = [path / name for name in _COLMAP_FILES] if path.is_dir() else [path]
    backups = [backup for file in replaced if (backup := keep_backup(file)) is not None]
    try:
        write_any(path, rig, format)
    except (UserError, OSError):
        for backup in backups:
            backup.unlink()
        raise
    return backups


def _summary(path: Path, rig: Rig) -> dict:
    distances = {
        f"{a.camera_id}-{b.camera_id}": round(float(np.linalg.norm(a.centre_world_m - b.centre_world_m)), 6)
        for a, b in combinations(rig.cameras, 2)
    }
    record = rig.calibration
    return {
        "rig": str(path),
        "rig_id": rig.rig_id,
        "cameras": {camera.camera_id: _camera_summary(camera, rig) for camera in rig.cameras},
        "distances_m": distances,
        "rmse_px": record.rmse_px if record else None,
        "date": record.date if record else None,
        "tool": record.tool if record else None,
        "board": record.board if record else None,
    }


def _camera_summary(camera: RigCamera, rig: Rig) -> dict:
    lens = camera.camera
    # Of the ray through the middle of the left and right edge, so that distortion counts.
    edges_px = np.array([[0.0, lens.height / 2], [lens.width - 1.0, lens.height / 2]])
    x, _, z = lens.rays(edges_px).T
    left, right = np.arctan2(x, z)
    return {
        "image_size": [lens.width, lens.height],
        "lens": lens.lens,
        "focal_px": [float(lens.matrix[0, 0]), float(lens.matrix[1, 1])],
        "centre_px": [float(lens.matrix[0, 2]), float(lens.matrix[1, 2])],
        "view_degrees": round(math.degrees(right - left), 2) if np.isfinite(right - left) else None,
        "position_m": [round(value, 6) for value in camera.centre_world_m.tolist()],
        "axis_world": [round(value, 6) for value in camera.T_cam_world[2, :3].tolist()],
        "time_offset_ms": camera.time_offset_ns / 1e6 if rig.time_offsets_known else None,
        "rmse_px": camera.rmse_px,
        "source": camera.source.__struct_config__.tag if camera.source else None,
    }


def _print_table(summary: dict) -> None:
    told = [summary[key] for key in ("tool", "date", "board") if summary[key]]
    print(f"{summary['rig']}: rig {summary['rig_id']}" + (f", calibrated by {', '.join(told)}" if told else ""))
    rows = [["camera", "image", "lens", "fx, fy px", "view deg", "position m", "offset ms", "rmse px"]]
    for camera_id, camera in summary["cameras"].items():
        rows.append(
            [
                camera_id,
                "x".join(map(str, camera["image_size"])),
                camera["lens"],
                ", ".join(f"{value:.1f}" for value in camera["focal_px"]),
                _or_dash(camera["view_degrees"], ".0f"),
                ", ".join(f"{value:+.3f}" for value in camera["position_m"]),
                _or_dash(camera["time_offset_ms"], "+.1f"),
                _or_dash(camera["rmse_px"], ".3f"),
            ]
        )
    _print_columns(rows)
    ids = list(summary["cameras"])
    print("\ndistances, mm")
    millimetres = {pair: f"{1000 * metres:.0f}" for pair, metres in summary["distances_m"].items()}
    rows = [["", *ids[1:]]]
    for row, a in enumerate(ids[:-1]):
        rows.append([a, *(millimetres[f"{a}-{b}"] if column > row else "" for column, b in enumerate(ids) if column)])
    _print_columns(rows)
    if summary["rmse_px"] is not None:
        print(f"\nreprojection error of the calibration: {summary['rmse_px']:.3f} px")


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _print_columns(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
